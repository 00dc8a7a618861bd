"""Tiny random models of every family that people merge, through all real parts.

A base and two perturbed fine-tunes of each, as save_pretrained writes them; one warm child of each
kind serves all families.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from evomerge.adapters import kinship as kinship_adapter
from evomerge.adapters import mergekit
from evomerge.adapters.foundation import Resolved, resolve_all
from evomerge.adapters.hub import Hub
from evomerge.adapters.lm_eval import worker as lm_eval
from evomerge.config import EvaluationConfig, MergeOptions, ModelConfig
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.domain.scores import Scores
from evomerge.execution import operations
from evomerge.execution.evaluation import Evaluation
from evomerge.execution.pool import Pool

TASK, ITEMS = "tiny_rotate", 12
NOISE = 0.01
"""Standard deviation of what a fine-tune adds to every weight."""
VOCABULARY = 67
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral-shards": ("Mistral", {"sliding_window": None, "dtype": torch.bfloat16}),
    "llama": ("Llama", {}),
    "smollm2": ("Llama", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": False}),
    "qwen2-tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": True}),
    "gemma2": ("Gemma2", {"sliding_window": 32, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3Text", {"sliding_window": 32, "query_pre_attn_scalar": 8}),
}
SHARD = "8KB"
"""Of a family in half precision, as large models come."""
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """Folders, and what the foundation resolving says of them: base, a, b."""

    root: Path
    models: tuple[Resolved, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(each.foundation.content_id for each in self.models)

    @property
    def folders(self) -> dict[str, Path]:
        return {each.foundation.content_id: each.path for each in self.models}

    def weights(self) -> tuple[Weights, ...]:
        return tuple(_load(each.path) for each in self.models)


def _load(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a folder, from one file or many."""
    found: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found


def _write(root: Path, tokenizer: Path, kind: str, options: Mapping[str, Any]) -> None:
    config = getattr(transformers, f"{kind}Config")(**SIZES, **options)
    base: Weights | None = None
    for seed, name in enumerate(("base", "a", "b")):
        torch.manual_seed(seed)
        dtype = options.get("dtype", torch.float32)
        model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
        state = model.state_dict()
        if base is None:
            base = {key: tensor.clone() for key, tensor in state.items()}
        else:
            tuned = {key: tensor + NOISE * torch.randn_like(tensor) for key, tensor in base.items()}
            model.load_state_dict(tuned)
            model.tie_weights()
        size = {} if dtype is torch.float32 else {"max_shard_size": SHARD}
        model.save_pretrained(root / name, **size)
        for file in tokenizer.glob("tokenizer*"):
            shutil.copy(file, root / name)


@pytest.fixture(scope="session")
def families(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    """A family by name, made on first use."""
    root = tmp_path_factory.mktemp("families")
    made: dict[str, Family] = {}

    def family(name: str) -> Family:
        if name not in made:
            _write(root / name, tiny / "models" / "base", *FAMILIES[name])
            base, *others = (ModelConfig(model=str(root / name / each)) for each in ("base", *"ab"))
            models = resolve_all(base, others, MergeOptions(), root / name / "digests.json", Hub())
            made[name] = Family(root / name, models)
        return made[name]

    return family


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "child.log"


@pytest.fixture(scope="module")
def workers(log: Path) -> Iterator[Pool]:
    scorer = lm_eval.worker("hf", "cpu", log)
    pool = Pool([mergekit.worker(log), scorer, kinship_adapter.worker(log)])
    pool.start("merge", "score", "measure")
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def evaluation(tiny: Path) -> EvaluationConfig:
    return EvaluationConfig.model_validate(
        {
            "tasks": [{"name": TASK, "metric": "acc", "limit": ITEMS}],
            "include": [tiny / "tasks"],
            "dtype": "float32",
        }
    )


def _recipe(method: str, family: Family, own: dict[str, Any], **parameters: Any) -> Recipe:
    base, *parents = family.ids
    return Recipe(
        method=method,
        parents=tuple(Ingredient(model=each, parameters=own) for each in parents),
        base=parents[0] if method == "slerp" else base,
        parameters=parameters,
        engine=mergekit.engine(),
    )


def _slerp(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Halfway on the arc between two tensors, the angle theta apart: (a + b) / (2 cos(theta/2))."""
    cosine = (a * b).sum() / (a.norm() * b.norm())
    return (a + b) / (2 * (cosine.clamp(-1, 1).arccos() / 2).cos())


def _ties(base: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """TIES of two models at density 1 and equal weights (arXiv 2306.01708, section 3)."""
    deltas = torch.stack([a - base, b - base])
    elected = torch.where(deltas.sum(0) >= 0, 1, -1)  # mergekit elects + where they cancel out
    kept = deltas.sign() == elected
    return base + (deltas * kept).sum(0) / kept.sum(0).clamp(min=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_merged_measured_and_scored(
    name: str,
    families: Callable[[str], Family],
    workers: Pool,
    evaluation: EvaluationConfig,
    tmp_path: Path,
) -> None:
    family = families(name)
    assert [each.foundation.vocabulary for each in family.models] == [VOCABULARY] * 3
    stored = family.weights()
    base, a, b = ({k: v.float() for k, v in each.items()} for each in stored)
    shards = [len([*each.path.glob("*.safetensors")]) for each in family.models]
    assert (min(shards) > 1) == (stored[0]["model.norm.weight"].dtype is torch.bfloat16)
    expected = {
        "slerp": {key: _slerp(a[key], b[key]) for key in base},
        # In the stored precision: rounding decides whose sign is elected.
        "ties": {key: _ties(*(each[key] for each in stored)).float() for key in base},
    }
    recipes = {
        "slerp": _recipe("slerp", family, {}, t=0.5),
        "ties": _recipe("ties", family, {"weight": 0.5, "density": 1.0}),
    }
    children = {method: tmp_path / method for method in recipes}
    for method, recipe in recipes.items():
        folder = family.folders.__getitem__
        workers.run(operations.merge(recipe, MergeOptions(), folder, children[method]))
        _is(children[method], expected[method], tied="lm_head.weight" not in base)
    _is_measured(
        family, {recipes[m].id: children[m] for m in recipes}, workers, tmp_path / "passes"
    )
    (tmp_path / "scores").mkdir()
    asked = (evaluation, MergeOptions())
    told = workers.run(operations.describe(*asked))
    into = tmp_path / "scores"
    answer = workers.run(operations.score(*asked, "selection", children["ties"], into))
    measured = Scores.model_validate(answer)
    (score,) = Evaluation.model_validate(told).chosen(measured, "selection").tasks
    assert score.samples == ITEMS // 2  # the search sees half of them
    assert score.solved is not None
    right = int(score.solved, 16).bit_count()
    assert score.value == pytest.approx(100 * right / score.samples)


def _is(child: Path, expected: Weights, *, tied: bool) -> None:
    """The child holds these weights, and transformers loads it whole."""
    made = _load(child)
    assert set(made) - {"lm_head.weight"} == set(expected) - {"lm_head.weight"}
    for key, tensor in expected.items():
        half = made[key].dtype is torch.bfloat16
        limits = {"atol": 5e-4, "rtol": 1e-2} if half else {"atol": 1e-6, "rtol": 2e-4}
        torch.testing.assert_close(made[key].float(), tensor, **limits)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        child, output_loading_info=True
    )
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert set(report["missing_keys"]) <= ({"lm_head.weight"} if tied else set())
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (embedding.data_ptr() == head.data_ptr()) is tied
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([[1, 5, 66]])).logits).all()


def _is_measured(family: Family, children: Mapping[str, Path], workers: Pool, passes: Path) -> None:
    """Kinship is the correlation of whole deltas: near none of the parents, much with a child."""
    base, *parents = family.models
    folders = {each.foundation.content_id: each.path for each in parents} | dict(children)
    names = list(folders)
    pairs = [(names[0], other) for other in names[1:]]
    base_id = base.foundation.content_id
    folder = {**folders, base_id: base.path}.__getitem__
    answer = workers.run(operations.measure(base_id, names, pairs, folder, (), passes))
    deltas = torch.stack([_delta(path, base.path) for path in folders.values()])
    expected = torch.corrcoef(deltas)[0, 1:].tolist()
    assert [reading["pcc"] for reading in answer["readings"]] == pytest.approx(expected, abs=1e-4)
    assert abs(expected[0]) < 0.1
    assert min(expected[1:]) > 0.3


def _delta(model: Path, base: Path) -> torch.Tensor:
    """All weights of a model less those of the base, in a row, as float64."""
    own, origin = (_load(each) for each in (model, base))
    return torch.cat([(own[key].double() - origin[key].double()).flatten() for key in origin])
