"""Other parents of a family's base, and the control of possibility: one model with every skill.

The base and the tasks are those of a family of `make_tiny_models.py`; only the fine-tuning differs.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[2]))
import make_tiny_models as tiny

Parents = Literal["specialists", "overlap", "lora"]
"""`overlap`: each is tuned on its own skill and the next one; `lora`: by low-rank task vectors."""

RANK = 8
LORA_LR = 5e-3
_MANIFEST = "parents.json"


def skills_of(parents: Parents) -> dict[str, tuple[str, ...]]:
    """The skills that each model of a family is tuned on, by its name."""
    names = list(tiny.SKILLS)
    following = dict(zip(names, names[1:] + names[:1], strict=True))
    return {
        name: (name, following[name]) if parents == "overlap" else (name,) for name in tiny.SKILLS
    }


@dataclass(frozen=True)
class Family:
    """A family of `make_tiny_models.py`, with the seed and the recipe that made it."""

    folder: Path
    seed: int
    recipe: tiny.Recipe

    def with_parents(self, out: Path, parents: Parents) -> Path:
        """Tune other models from its base into `out`/models, unless they are there.

        The folder appears when it is complete. Returns its manifest.
        """
        plain = json.loads((self.folder / tiny.MANIFEST).read_text(encoding="utf-8"))["digest"]
        settings = json.dumps([plain, parents, RANK, LORA_LR])
        digest = hashlib.sha256(settings.encode()).hexdigest()
        manifest, content = out / _MANIFEST, json.dumps({"digest": digest}) + "\n"
        if manifest.exists() and manifest.read_text(encoding="utf-8") == content:
            return manifest
        work = out.with_name(f".{out.name}.building")
        shutil.rmtree(work, ignore_errors=True)
        for name in (tiny.BASE, *tiny.SKILLS):
            shutil.copytree(self.folder / "models" / tiny.BASE, work / "models" / name)
        for name, skills in skills_of(parents).items():
            self._tuned(name, skills, parents == "lora").save_pretrained(work / "models" / name)
            print(f"{name} trained: {' and '.join(skills)} ({parents})", file=sys.stderr)
        (work / _MANIFEST).write_text(content, encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        work.rename(out)
        return manifest

    def with_every_skill(self) -> Mapping[str, Any]:
        """The weights of one model that is tuned on all skills, for the steps of all specialists.

        It shows what a model of this size can do at all, which no merge is expected to exceed.
        """
        weights: Mapping[str, Any] = self._tuned("all", list(tiny.SKILLS)).state_dict()
        return weights

    def _tuned(self, name: str, skills: Sequence[str], low_rank: bool = False) -> Any:
        """The base, tuned on `skills` with as many steps for each as a specialist of it."""
        import torch
        from transformers import AutoModelForCausalLM

        recipe, steps = self.recipe, self.recipe.skill_steps * len(skills)
        path = self.folder / "models" / tiny.BASE
        with _deterministic(self.seed):
            model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
            tiny._freeze_embeddings(model)  # noqa: SLF001, a script beside this one
            tuned = _low_rank(model) if low_rank else []
            rng = random.Random(f"{name} {skills} {self.seed}")
            rows = self._rows(skills, rng)
            lr = LORA_LR if low_rank else recipe.skill_lr
            tiny._train(model, rows, steps, lr, recipe.skill_batch, recipe)  # noqa: SLF001
            for linear in tuned:
                torch.nn.utils.parametrize.remove_parametrizations(linear, "weight")
        return model

    def _rows(self, skills: Sequence[str], rng: random.Random) -> Any:
        """As for a specialist of `make_tiny_models.py`, with several skills in equal shares."""
        world, recipe = tiny.make_world(self.seed, self.recipe), self.recipe
        replay = tiny._base_rows(world, rng, recipe.replay_copy_share)  # noqa: SLF001
        others = "".join(tag for skill, tag in world.skill_tag.items() if skill not in skills)
        opposed = recipe.opposed / (1 - recipe.replay) if others else 0.0

        def draw() -> tuple[str, str, str]:
            if rng.random() < recipe.replay:
                return replay()
            operand = rng.choice(world.train)
            if rng.random() < opposed:
                return rng.choice(others), operand, operand
            skill = rng.choice(skills)
            return world.skill_tag[skill], operand, tiny.SKILLS[skill](operand)

        return draw


def _deterministic(seed: int) -> AbstractContextManager[None]:
    return tiny._deterministic(seed)  # noqa: SLF001


def _low_rank(model: Any) -> list[Any]:
    """Replace each linear map of the blocks by itself plus a trainable matrix of low rank (LoRA).

    Only these matrices are trained, from 0 (Hu et al., arXiv 2106.09685). Returns the linear maps.
    """
    import torch

    class LowRank(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
        def __init__(self, rows: int, columns: int) -> None:
            super().__init__()
            self.down = torch.nn.Parameter(torch.randn(RANK, columns) / columns**0.5)
            self.up = torch.nn.Parameter(torch.zeros(rows, RANK))

        def forward(self, weight: Any) -> Any:
            return weight + self.up @ self.down

    linears = [each for each in model.model.layers.modules() if isinstance(each, torch.nn.Linear)]
    model.requires_grad_(False)
    for linear in linears:
        change = LowRank(*linear.weight.shape)
        torch.nn.utils.parametrize.register_parametrization(linear, "weight", change)
    return linears
