"""Which models get an engine of their own, and which take over the one that is there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from evomerge.adapters.lm_eval.form import Form, agree, read_form
from evomerge.adapters.lm_eval.kept_engine import KeptEngine
from evomerge.domain.errors import CandidateError

SHAPES = {"model.embed_tokens.weight": (8, 4), "model.layers.0.mlp.up_proj.weight": (4, 4)}
CONFIG = {"architectures": ["M"], "model_type": "mistral", "tie_word_embeddings": False}

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A model folder whose weights are drawn from `seed`, with changes to them and its config."""

    def made(
        name: str, seed: int = 0, weights: Mapping[str, Any] | None = None, **config: Any
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        torch.manual_seed(seed)
        tensors = {tensor: torch.rand(shape) for tensor, shape in SHAPES.items()} | (weights or {})
        save_file({k: v for k, v in tensors.items() if v is not None}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(CONFIG | config))
        (folder / "tokenizer.json").write_text("{}")
        return folder

    return made


class Answering:
    """An engine over a folder: answers by the weights that it computes with.

    Attributes:
        stale: tensors that a swap leaves as they are, as a packed copy would be.
        rounding: how far a new engine's answers are from another one's.
    """

    def __init__(self, model: Path, stale: Sequence[str] = (), rounding: float = 0.0) -> None:
        self.stale, self.rounding, self.exact = tuple(stale), rounding, not rounding
        self.weights = _sums(model)
        self.open = True
        self.broken = False

    def lent(self) -> dict[str, float]:
        return dict(self.weights)

    def swap(self, model: Path) -> None:
        if self.broken:
            raise CandidateError("CUDA error")
        kept = {name: self.weights[name] for name in self.stale}
        self.weights = _sums(model) | kept

    def answers(self, texts: Sequence[str]) -> list[float]:
        return [total + self.rounding for total in self.weights.values()]

    def close(self) -> None:
        self.open = False


def _sums(model: Path) -> dict[str, float]:
    from safetensors.torch import load_file

    return {name: float(t.sum()) for name, t in load_file(model / "model.safetensors").items()}


class Bench:
    """Scores folders one after the other; `started` has the engines that it took."""

    def __init__(self, **engine: Any) -> None:
        self.started: list[Answering] = []
        self.engine = engine
        self.kept = KeptEngine(self._start)

    def _start(self, model: Path, arguments: Mapping[str, Any]) -> Answering:
        assert all(not engine.open for engine in self.started), "two engines at once"
        self.started.append(Answering(model, **self.engine))
        return self.started[-1]

    def score(self, model: Path, **arguments: Any) -> dict[str, float]:
        with self.kept.holding(model, read_form(model, "auto"), arguments, ["text"]) as lm:
            scores: dict[str, float] = lm
        return scores


def test_one_engine_serves_the_models_of_one_form(make: Make) -> None:
    bench = Bench()
    models = [make(f"m{seed}", seed) for seed in range(5)]
    assert [bench.score(model) for model in models] == [_sums(model) for model in models]
    assert len(bench.started) == 2  # the second one shows that swaps do what starts do
    assert bench.kept.told() == []


def test_the_same_weights_again_need_no_swap(make: Make) -> None:
    bench = Bench()
    for name in "abc":
        bench.score(make(name))
    assert len(bench.started) == 1


def test_a_stale_copy_is_found_before_it_scores_anything(make: Make) -> None:
    bench = Bench(stale=["model.embed_tokens.weight"])
    models = [make(f"m{seed}", seed) for seed in range(4)]
    assert [bench.score(model) for model in models] == [_sums(model) for model in models]
    (told,) = bench.kept.told()
    assert told.sentence == (
        "each model gets a vLLM engine of its own, weights cannot be swapped: "
        "it answers otherwise than a new engine"
    )
    assert len(bench.started) == 4
    assert bench.kept.told() == []


def test_a_copy_of_what_two_models_share_is_found_when_it_changes(make: Make) -> None:
    """The embeddings of the first three are equal, as after a fine-tuning that froze them."""
    stale = "model.embed_tokens.weight"
    frozen = {stale: torch.ones(8, 4)}
    bench = Bench(stale=[stale])
    models = [*(make(f"m{seed}", seed, frozen) for seed in range(3)), make("m3", 3), make("m4", 4)]
    assert [bench.score(model) for model in models] == [_sums(model) for model in models]
    assert len(bench.started) == 4  # m2 was swapped; m3 changes the embeddings
    assert len(bench.kept.told()) == 1


def test_rounding_is_no_difference_and_another_model_is_one() -> None:
    assert agree([-1.0, -2.0], [-3.0, -4.0], [-3.001, -4.0], exactly=False)
    assert not agree([-1.0, -2.0], [-3.0, -4.0], [-3.001, -4.0], exactly=True)
    assert not agree([-1.0, -2.0], [-3.0, -2.0], [-3.0, -4.0], exactly=False)
    near = [-3.0005, -4.0]  # two children that hardly differ: a stale part would be as near
    assert not agree(near, [-3.0002, -4.0], [-3.0, -4.0], exactly=False)
    assert not agree([-1.0], [math.nan], [-3.0], exactly=False)
    assert not agree([-1.0], [], [-3.0], exactly=False)


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": 5e5},
        {"weights": {"model.layers.0.mlp.up_proj.weight": torch.rand(4, 4).bfloat16()}},
        {"weights": {"model.embed_tokens.weight": torch.rand(9, 4)}},
        {"weights": {"model.layers.0.mlp.up_proj.weight": None}},
        {"weights": {"model.norm.weight": torch.rand(4)}},
    ],
    ids=["config", "dtype", "shape", "missing", "more"],
)
def test_another_form_gets_an_engine_of_its_own(make: Make, change: dict[str, Any]) -> None:
    bench = Bench()
    for name in "abc":
        bench.score(make(name, ord(name)))
    before = len(bench.started)
    bench.score(make("other", 7, **change))
    assert len(bench.started) == before + 1
    assert bench.kept.told() == []


def test_another_tokenizer_or_setting_gets_an_engine_of_its_own(make: Make) -> None:
    bench = Bench()
    bench.score(make("a"))
    other = make("b", 1)
    (other / "tokenizer.json").write_text('{"version": 2}')
    bench.score(other)
    (other / "generation_config.json").write_text('{"eos_token_id": 3}')
    bench.score(other)
    bench.score(other, max_length=64)
    assert len(bench.started) == 4


def test_where_a_model_came_from_is_no_difference(make: Make) -> None:
    one = make("a", 0, _name_or_path="x/y", transformers_version="4.9", torch_dtype="bfloat16")
    other = make("b", 1, transformers_version="5.1", dtype="bfloat16")
    first, second = read_form(one, "auto"), read_form(other, "auto")
    assert first is not None
    assert second is not None
    assert second.fits(first)
    assert second.changed(first) == {
        "model.embed_tokens.weight",
        "model.layers.*.mlp.up_proj.weight",
    }


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "falcon_h1", "mamba_d_ssm": 12},
        {"model_type": "qwen3_next", "layer_types": ["linear_attention", "full_attention"]},
        {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
        {"model_type": "mamba2"},
        {"quantization_config": {"quant_method": "fp8"}},
    ],
)
def test_what_is_known_to_break_is_not_tried(make: Make, config: dict[str, Any]) -> None:
    bench = Bench()
    models = [make(f"m{seed}", seed, **config) for seed in range(3)]
    assert [bench.score(model) for model in models] == [_sums(model) for model in models]
    assert len(bench.started) == 3
    assert len(bench.kept.told()) == 1


def test_sliding_windows_are_no_recurrent_state(make: Make) -> None:
    form = read_form(make("a", layer_types=["sliding_attention", "full_attention"]), "auto")
    assert form is not None
    assert form.keeps_state is None


def test_a_new_engine_after_any_failure(make: Make) -> None:
    bench = Bench()
    for name in "abc":
        bench.score(make(name, ord(name)))
    with (
        pytest.raises(ZeroDivisionError),
        bench.kept.holding(make("d", 9), read_form(make("e", 9), "auto"), {}, ["text"]),
    ):
        raise ZeroDivisionError
    assert not any(engine.open for engine in bench.started)
    bench.score(make("f", 10))
    assert len(bench.started) == 3


def test_a_swap_that_fails_is_followed_by_an_engine_of_its_own(make: Make) -> None:
    bench = Bench()
    for name in "ab":
        bench.score(make(name, ord(name)))
    bench.started[-1].broken = True
    model = make("c", 9)
    assert bench.score(model) == _sums(model)
    (told,) = bench.kept.told()
    assert "CUDA error" in told.sentence


def test_pickled_weights_get_an_engine_of_their_own(tmp_path: Path, make: Make) -> None:
    bench = Bench()
    bench.score(make("a"))
    bare = tmp_path / "bare"
    bare.mkdir()
    assert read_form(bare, "auto") is None
    with bench.kept.holding(make("b", 1), None, {}, ["text"]):
        assert len(bench.started) == 2


def test_numbers_that_are_not_finite_are_found_in_the_file(make: Make) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    for value, dtype in ((math.nan, "auto"), (-math.inf, "auto"), (70_000.0, "float16")):
        weights = torch.ones(4, 4)
        weights[3, 3] = value
        model = make(f"{value}", weights={name: weights})
        with pytest.raises(CandidateError, match=name):
            read_form(model, dtype)
    assert read_form(model, "auto") is not None
    assert read_form(model, "bfloat16") is not None


def test_the_form_is_free_of_values(make: Make) -> None:
    forms = [read_form(make(name, ord(name)), "auto") for name in "ab"]
    first, second = [form for form in forms if form is not None]
    assert replace(first, sums={}) == replace(second, sums={})
    assert isinstance(first, Form)
    assert first.architecture == "M F32"
