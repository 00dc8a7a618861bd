"""Models that are not quite their base: rows, heads, names, frozen parts, broken weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evomerge.domain.errors import CandidateError
from evomerge.kinship.errors import (
    KinshipError,
    NonFiniteWeightsError,
    ShapeMismatchError,
    WeightFileError,
)
from evomerge.kinship.grouping import kind_of
from evomerge.kinship.headers import read_folder
from evomerge.kinship.statistics import Statistics
from evomerge.kinship.stream import measure
from evomerge.kinship.tensors import read
from evomerge.kinship.union import missing_pairs

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture
def family(workshop):
    return workshop.family("abc")


def statistics(workshop, base, models, **arguments):
    folder = workshop.write("base", base)
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    return Statistics.merge([measure(folder, paths, base_id="base", **arguments)])


def pcc(a, b):
    return np.corrcoef(a, b)[0, 1]


def with_rows(weights, rows):
    """The vocabulary cut, or filled up with ones, to `rows`."""
    width = weights[HEAD].shape[1]
    return weights | {
        name: torch.cat([weights[name], torch.ones(rows, width)])[:rows]
        for name in (EMBEDDING, HEAD)
    }


def test_added_vocabulary_is_left_out(workshop, family):
    base, models = family
    longer = models | {"a": with_rows(models["a"], 310), "b": with_rows(models["b"], 307)}
    found = statistics(workshop, base, longer)
    assert found.cut == ()
    want = pcc(workshop.delta(base, models["a"]), workshop.delta(base, models["b"]))
    assert found.pair("pcc", "a", "b") == pytest.approx(want, abs=1e-7)


def test_a_smaller_vocabulary_cuts_every_model(workshop, family):
    base, models = family
    found = statistics(workshop, base, models | {"c": with_rows(models["c"], 290)})
    assert {tensor.name: tensor.rows for tensor in found.cut} == {EMBEDDING: 290, HEAD: 290}
    small = with_rows(base, 290)
    want = pcc(workshop.delta(small, models["a"]), workshop.delta(small, models["b"]))
    assert found.pair("pcc", "a", "b") == pytest.approx(want, abs=1e-7)


def test_a_later_model_with_fewer_rows_has_only_the_cut_tensors_taken_again(workshop, family):
    base, models = family
    models["c"] = with_rows(models["c"], 290)
    folder = workshop.write("base", base)
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    first = measure(folder, {name: paths[name] for name in "ab"}, base_id="base")
    second = measure(folder, paths, base_id="base", known=[first])
    for block in second.tensors:
        assert block.new == ((0, 1, 2) if block.name in {EMBEDDING, HEAD} else (2,))
    assert missing_pairs([first, second], "abc") == frozenset()
    united = Statistics.merge([first, second])
    whole = Statistics.merge([measure(folder, paths, base_id="base")])
    assert united.tensors == whole.tensors
    np.testing.assert_array_equal(united.gram, whole.gram)
    assert Statistics.merge([second, first], "ab").cut == ()


def test_a_tied_head_that_is_not_stored_is_named_and_counts_for_none(workshop, family):
    base, models = family
    del models["b"][HEAD]
    found = statistics(workshop, base, models)
    assert found.absent == {HEAD: ("b",)}
    names = [name for name in base if name != HEAD]
    deltas = [workshop.delta(base, models[model], names) for model in "ac"]
    assert found.pair("pcc", "a", "c") == pytest.approx(pcc(*deltas), abs=1e-7)


def test_a_tensor_of_one_model_only_is_named(workshop, family):
    base, models = family
    models["a"]["score.weight"] = torch.randn(2, 3)
    models["a"]["steps"] = torch.ones(3, dtype=torch.int64)
    base["buffer"] = torch.ones(3, dtype=torch.int32)
    found = statistics(workshop, base, models)
    assert found.extra == {"a": ("score.weight", "steps")}
    assert found.skipped == {"base": {"buffer": "I32"}}


def test_frozen_tensors_and_a_model_equal_to_the_base(workshop, family):
    base, models = family
    models["a"] |= {EMBEDDING: base[EMBEDDING], HEAD: base[HEAD]}
    found = statistics(workshop, base, models | {"same": dict(base)})
    assert found.equal_to_base == ("same",)
    assert found.pair("pcc", "same", "a") is None
    assert found.split_by(kind_of)["embedding"].pair("pcc", "a", "b") is None
    deltas = [workshop.delta(base, models[model]) for model in "ab"]
    assert found.pair("pcc", "a", "b") == pytest.approx(pcc(*deltas), abs=1e-7)
    want = np.linalg.norm(deltas[0])
    assert found.pair("euclidean", "same", "a") == pytest.approx(want, rel=1e-6)


def test_a_constant_delta_of_a_long_tensor_has_no_pcc(workshop):
    torch.manual_seed(0)
    base = {"long": torch.randn(1_500_000)}
    models = {
        "shifted": {"long": base["long"].double() + 0.1},
        "a": {"long": base["long"] + torch.randn(1_500_000)},
    }
    found = statistics(workshop, base, models)
    assert found.pair("pcc", "a", "shifted") is None
    assert found.pair("cosine", "a", "shifted") is not None


def test_twins_have_no_distance(workshop, family):
    base, models = family
    found = statistics(workshop, base, models | {"twin": models["a"]})
    assert found.pair("pcc", "a", "twin") == pytest.approx(1, abs=1e-15)
    assert found.pair("euclidean", "a", "twin") == 0


def test_near_twins_have_their_distance(workshop, family):
    base, models = family
    near = {name: weight.clone() for name, weight in models["a"].items()}
    near[HEAD][7] += 1e-5
    found = statistics(workshop, base, models | {"near": near})
    apart = workshop.delta(base, models["a"]) - workshop.delta(base, near)
    assert np.linalg.norm(apart) < 1e-3 * np.linalg.norm(workshop.delta(base, models["a"]))
    want = pytest.approx(np.linalg.norm(apart), rel=1e-3)
    assert found.pair("euclidean", "a", "near") == want


@pytest.mark.parametrize("wrapper", ["", "model.language_model.", "language_model.model."])
def test_renamed_prefixes_are_matched_and_told(workshop, family, wrapper):
    base, models = family
    renamed = {name.replace("model.", wrapper): weight for name, weight in models["b"].items()}
    found = statistics(workshop, base, models | {"b": renamed})
    assert found.absent == found.extra == {}
    assert found.renamed["b"][EMBEDDING] == f"{wrapper}embed_tokens.weight"
    want = pcc(workshop.delta(base, models["a"]), workshop.delta(base, models["b"]))
    assert found.pair("pcc", "a", "b") == pytest.approx(want, abs=1e-7)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("-inf"), "infinity")])
@pytest.mark.parametrize("culprit", ["base", "a", "b"])
def test_weights_that_are_not_finite_are_named(workshop, family, value, word, culprit):
    base, models = family
    name = "model.layers.1.mlp.up_proj.weight"
    everyone = {"base": base} | models
    everyone[culprit][name] = everyone[culprit][name].clone()
    everyone[culprit][name][-1, -1] = value
    known = {"base": base, "a": models["a"]}
    pairs = [("c", "a"), ("c", "b")]
    with pytest.raises(NonFiniteWeightsError, match=word) as caught:
        statistics(workshop, known.pop("base"), models, pairs=pairs)
    assert (caught.value.tensor, caught.value.model) == (name, culprit)
    assert isinstance(caught.value, CandidateError)
    assert name in str(caught.value)


def test_a_broken_row_beyond_the_common_ones_does_not_matter(workshop, family):
    base, models = family
    models["a"] = with_rows(models["a"], 310)
    models["a"][HEAD][305] = float("nan")
    assert statistics(workshop, base, models).pair("pcc", "a", "b") is not None


def test_huge_but_finite_weights_are_no_error(workshop, family):
    base, models = family
    name = "model.layers.1.mlp.up_proj.weight"
    for model in models.values():
        model[name] = model[name] * 1e25
    found = statistics(workshop, base, models)
    deltas = [workshop.delta(base, models[model]) for model in "ab"]
    assert found.pair("pcc", "a", "b") == pytest.approx(pcc(*deltas), abs=1e-7)


def test_weights_beyond_float32_are_named(workshop, family):
    base, models = family
    name = "model.layers.1.mlp.up_proj.weight"
    models["b"][name] = models["b"][name].clone()
    models["b"][name][3, 3] = 2e38
    with pytest.raises(NonFiniteWeightsError, match=r"model b holds a weight of 2e\+38") as caught:
        statistics(workshop, base, models)
    assert (caught.value.tensor, caught.value.model) == (name, "b")


def test_another_shape_is_an_error(workshop, family):
    base, models = family
    models["b"]["model.norm.weight"] = torch.ones(64, 1)
    with pytest.raises(ShapeMismatchError, match=r"model\.norm\.weight is \[64, 1\] in model b"):
        statistics(workshop, base, models)


def test_another_architecture_is_an_error(workshop, family):
    base, models = family
    with pytest.raises(KinshipError, match="model odd shares no"):
        statistics(workshop, base, models | {"odd": {"conv": torch.ones(3)}})


def test_a_truncated_file_is_an_error_before_anything_is_read(workshop, family):
    base, models = family
    path = workshop.write("a", models["a"])
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightFileError, match="truncated") as caught:
        measure(workshop.write("base", base), {"a": path}, base_id="base")
    assert str(file) in str(caught.value)


def test_a_file_that_shrinks_meanwhile_is_an_error(workshop, family):
    base, _ = family
    path = workshop.write("a", base)
    stored = read_folder(path)
    last = max(stored.values(), key=lambda one: one.offset)
    last.file.write_bytes(last.file.read_bytes()[: last.offset + 4])
    with pytest.raises(WeightFileError, match="ends before tensor"):
        read(last)
    last.file.unlink()
    with pytest.raises(WeightFileError, match="cannot read"):
        read(last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_any_range_is_read_as_float32(workshop, dtype):
    weights = torch.arange(5000).reshape(50, 100).to(dtype)
    stored = read_folder(workshop.write("a", {"first": weights[0].clone(), "x": weights}))["x"]
    flat = weights.flatten().to(torch.float32)
    for start, stop in ((0, None), (0, 0), (7, 8), (1234, 4321)):
        got = read(stored, start, stop)
        assert got.dtype == torch.float32
        assert torch.equal(got, flat[start:stop])
