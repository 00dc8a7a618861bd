"""Fixtures: a base, five specialists and their tasks from a seed, with controls.

Controls are measured without mergekit and lm-eval: an item counts as solved if the most likely
token is right at every position of its answer and at the end.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
import make_tiny_models as tiny
from families import Family, Parents, skills_of

from evomerge.merge_rules.wudi import merged_task_vector

FIRST_SEED = 100
HELD_OUT = 1000
STRONG, WEAK = 80.0, 40.0
"""Points that a specialist must reach on its own task, and must not exceed on any other."""
_SCALES = (0.3, 0.5, 0.8)
_SCALES_OF_WUDI = (0.6, 1.0, 1.5)
_EPSILON = 0.3
_ITEMS_OF_A_SWAP = 100


@dataclass(frozen=True)
class Fixture:
    """A fixture; its number determines its seed, its family and whether it is hard.

    Attributes:
        items: number of selection items per task; `HELD_OUT` more are held out.
        parents: the kind of the foundation models; all kinds share the base and the tasks.
    """

    number: int
    out: Path
    items: int = 300
    parents: Parents = "specialists"

    @property
    def hard(self) -> bool:
        """Whether the specialists unlearn each other's tags."""
        return self.number % 4 in {1, 2}

    @property
    def family(self) -> str:
        """`mistral` or `qwen2`."""
        return self.recipe.family

    @property
    def folder(self) -> Path:
        """The folder of its models, runs and results."""
        return self.out / (f"fixture-{self.number}" + self._suffix)

    @property
    def _suffix(self) -> str:
        return "" if self.parents == "specialists" else f"-{self.parents}"

    @property
    def models(self) -> Path:
        """The folder of the base and the foundation models."""
        return self.folder / "family" / "models"

    @property
    def tasks(self) -> Path:
        """The folder of the lm-eval tasks."""
        return self.out / f"fixture-{self.number}" / "family" / "tasks"

    @property
    def runs(self) -> Path:
        """The runs folder; its store is shared by all arms."""
        return self.folder / "runs"

    @cached_property
    def recipe(self) -> tiny.Recipe:
        """Four digits, for enough held-out operands, and a greater width, for better merges.

        Width, training length and learning rate were chosen by the controls alone: specialists
        strong, and a merge of all at once neither perfect nor hopeless. With a much higher opposed
        share (0.01; with Qwen2 0.003) no merge scores.
        """
        qwen2 = self.number % 2 == 1
        return replace(
            tiny.RECIPE,
            family="qwen2" if qwen2 else "mistral",
            digits=4,
            hidden=96,
            feed_forward=192,
            base_steps=1000,
            skill_steps=200,
            skill_lr=7e-4,
            opposed=(0.001 if qwen2 else 0.003) if self.hard else 0.0,
            items=self.items + HELD_OUT,
        )

    @property
    def title(self) -> str:
        """A one-line description."""
        kind = f"{self.family}, {'hard' if self.hard else 'easy'}"
        return f"fixture {self.number}{self._suffix} ({kind})"

    def make(self) -> dict[str, Any]:
        """Train it unless it exists; returns its controls, which are also in `controls.json`."""
        plain = replace(self, parents="specialists")
        seed = FIRST_SEED + self.number
        made = tiny.make(plain.folder / "family", seed=seed, recipe=self.recipe)
        family, manifest = Family(made, seed, self.recipe), made / tiny.MANIFEST
        if self != plain:
            manifest = family.with_parents(self.folder / "family", self.parents)
        digest = json.loads(manifest.read_text(encoding="utf-8"))["digest"]
        kept = self.folder / "controls.json"
        found: dict[str, Any] = {}
        if kept.exists():
            found = json.loads(kept.read_text(encoding="utf-8"))
        if found.get("digest") != digest:
            controls = _Controls(self.models, self.tasks, self.items)
            found = {"digest": digest, **controls.measured(skills_of(self.parents))}
        if "possible" not in found:
            controls = _Controls(self.models, self.tasks, self.recipe.items)
            found["possible"] = controls.possible()
            found["possible"]["one model tuned on all"] = (
                controls.scores(family.with_every_skill())
                if self == plain
                else plain.make()["possible"]["one model tuned on all"]
            )
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return found


def fair(
    count: int,
    out: Path,
    numbers: Iterable[int] | None = None,
    parents: Parents = "specialists",
) -> tuple[list[Fixture], dict[str, Any]]:
    """The first `count` fixtures that pass their controls, and the controls of all made, by title.

    Fixtures are selected by controls only, which involve no search.

    Args:
        numbers: only these are made and tried; otherwise 0, 1, 2, ... until `count` are fair.
        parents: the kind of the foundation models.
    """
    found: list[Fixture] = []
    controls: dict[str, Any] = {}
    for number in itertools.count() if numbers is None else numbers:
        if len(found) == count:
            break
        fixture = Fixture(number, out, parents=parents)
        controls[fixture.title] = fixture.make()
        if not controls[fixture.title]["faults"]:
            found.append(fixture)
    return found, controls


class _Controls:
    """Measures one family, with one model object into which weights are loaded."""

    def __init__(self, models: Path, tasks: Path, items: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)  # faster for such small models
        self._rows = {skill: _rows(tasks, skill, items) for skill in tiny.SKILLS}
        self._weights: dict[str, dict[str, Any]] = {}
        for name in (tiny.BASE, *tiny.SKILLS):
            self._model = AutoModelForCausalLM.from_pretrained(models / name).float()
            self._weights[name] = {k: v.clone() for k, v in self._model.state_dict().items()}

    def measured(self, own: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """All controls in points, and the reasons if the fixture is unfair.

        Args:
            own: the skills that each model was tuned on.
        """
        base = self._weights[tiny.BASE]
        scores = {name: self.scores(weights) for name, weights in self._weights.items()}
        swaps = {skill: self._best_swap(skill) for skill in tiny.SKILLS}
        tensors = [(skill, swap["tensor"]) for skill, swap in swaps.items()]
        together = {name: weight.clone() for name, weight in base.items()}
        for skill, tensor in tensors:
            together[tensor] += self._weights[skill][tensor] - base[tensor]
        merged = {str(a): _mean(self.scores(self._arithmetic(a))) for a in _SCALES}
        found: dict[str, Any] = {
            "tuned_on": own,
            "scores": scores,
            "single_tensor": swaps,
            "one_tensor_of_each": _mean(self.scores(together)),
            "one_embedding_row_of_each": _mean(self.scores(self._rows_copied())),
            "task_arithmetic_of_all": merged,
        }
        return found | {"faults": list(_faults(found, own))}

    def possible(self) -> dict[str, dict[str, float]]:
        """Points on every skill without any search: the best parent of each, and uniform merges."""
        parents = [self.scores(self._weights[skill]) for skill in tiny.SKILLS]
        return {
            "best parent of each": {
                skill: max(each[skill] for each in parents) for skill in tiny.SKILLS
            },
            "task arithmetic": self._best_of(map(self._arithmetic, _SCALES)),
            "WUDI": self._best_of(map(self._disentangled, _SCALES_OF_WUDI)),
        }

    def _best_of(self, merges: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        return max(map(self.scores, merges), key=_mean)

    def _best_swap(self, skill: str) -> dict[str, Any]:
        """The tensor of a specialist that alone transfers most of its skill to the base."""
        base, own = self._weights[tiny.BASE], self._weights[skill]
        alone = {
            tensor: self._score(base | {tensor: own[tensor]}, skill, _ITEMS_OF_A_SWAP)
            for tensor in base
        }
        best = max(alone, key=alone.__getitem__)
        return {"tensor": best, "score": alone[best]}

    def _rows_copied(self) -> dict[str, Any]:
        """The base with the most changed embedding row of each specialist."""
        name = "model.embed_tokens.weight"
        base = self._weights[tiny.BASE]
        rows = base[name].clone()
        for skill in tiny.SKILLS:
            own = self._weights[skill][name]
            row = int((own - base[name]).norm(dim=1).argmax())
            rows[row] = own[row]
        return base | {name: rows}

    def _arithmetic(self, scale: float) -> dict[str, Any]:
        base = self._weights[tiny.BASE]
        return {
            name: weight + scale * sum(self._weights[skill][name] - weight for skill in tiny.SKILLS)
            for name, weight in base.items()
        }

    def _disentangled(self, scale: float) -> dict[str, Any]:
        base, own = self._weights[tiny.BASE], [self._weights[skill] for skill in tiny.SKILLS]
        weights = [scale] * len(own)
        return {
            name: weight
            + merged_task_vector([each[name] - weight for each in own], weights, _EPSILON)
            for name, weight in base.items()
        }

    def scores(self, weights: Mapping[str, Any]) -> dict[str, float]:
        """Points on every skill."""
        return {skill: self._score(weights, skill) for skill in tiny.SKILLS}

    def _score(self, weights: Mapping[str, Any], skill: str, items: int | None = None) -> float:
        import torch

        self._model.load_state_dict(weights)
        tokens, prompt = self._rows[skill]
        tokens = tokens[:items]
        with torch.no_grad():
            predicted = self._model(input_ids=tokens[:, :-1]).logits[:, prompt - 1 :].argmax(-1)
        return round(100.0 * float((predicted == tokens[:, prompt:]).all(1).float().mean()), 2)


def _rows(tasks: Path, skill: str, items: int) -> tuple[Any, int]:
    """Token ids of the first items of a task, prompt and answer, and the length of a prompt."""
    import torch

    path = tasks / f"{tiny.task_name(skill)}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()[:items]
    rows = [json.loads(line) for line in lines]
    ids = [
        [tiny.TOKEN_ID[t] for t in (tiny.BOS, *row["prompt"], *row["answer"], tiny.EOS)]
        for row in rows
    ]
    return torch.tensor(ids), 1 + len(rows[0]["prompt"])


def _mean(scores: Mapping[str, float]) -> float:
    return round(sum(scores.values()) / len(scores), 2)


def _faults(found: Mapping[str, Any], own: Mapping[str, Sequence[str]]) -> Any:
    """The reasons why a fixture is unfair, one sentence each."""
    for name in tiny.SKILLS:
        for task, score in found["scores"][name].items():
            if task in own[name] and score < STRONG:
                which = "its own task" if task == name else f"its task {task}"
                yield f"{name} has only {score:g} on {which}"
            if task not in own[name] and score > WEAK:
                yield f"{name} has {score:g} on {task}"
    base, merged = _mean(found["scores"][tiny.BASE]), max(found["task_arithmetic_of_all"].values())
    for key in ("one_tensor_of_each", "one_embedding_row_of_each"):
        if found[key] - base > (merged - base) / 2:
            yield f"{key.replace('_', ' ')} brings {found[key]:g}, a whole merge {merged:g}"
