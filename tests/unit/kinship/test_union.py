"""What passes hold together, and what of it may not be mixed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from evomerge.kinship.errors import KinshipError, MissingPairsError, PassFormatError
from evomerge.kinship.statistics import Statistics, TensorSize
from evomerge.kinship.union import cover, missing_pairs


def model(rng, embedding, head=6):
    weights = {
        "embed": rng.normal(size=(embedding, 3)),
        "body": rng.normal(size=(4, 5)),
        "head": rng.normal(size=(head, 3)),
    }
    return {name: weight for name, weight in weights.items() if len(weight)}


@pytest.fixture
def base():
    return model(np.random.default_rng(0), 6)


@pytest.fixture
def models():
    rng = np.random.default_rng(1)
    return {
        "a": model(rng, 6),
        "b": model(rng, 8),
        "short": model(rng, 5),
        "tied": model(rng, 6, head=0),
    }


def among(models, ids):
    return {name: models[name] for name in ids}


def test_missing_pairs_of_no_pass_are_all(pass_over, base, models):
    every = {("a", "a"), ("a", "b"), ("b", "b")}
    assert missing_pairs([], ["b", "a"]) == every
    taken = [pass_over(base, among(models, ["a"]))]
    assert missing_pairs(taken, ["b", "a"]) == every - {("a", "a")}
    taken.append(pass_over(base, among(models, ["a", "b"]), ["b"]))
    assert missing_pairs(taken, ["b", "a"]) == frozenset()


def test_a_known_model_that_was_only_beside_is_not_measured(pass_over, base, models):
    taken = [pass_over(base, among(models, ["a", "b"]), ["b"])]
    assert missing_pairs(taken, ["a", "b"]) == {("a", "a")}


def test_more_rows_than_the_base_change_nothing(pass_over, base, models):
    statistics = Statistics.merge([pass_over(base, among(models, ["a", "b"]))])
    assert statistics.cut == ()
    assert statistics.tensors[-1] == TensorSize("head", 18, 6, 6)


def test_products_over_other_rows_are_never_mixed_in(pass_over, base, models):
    taken = [pass_over(base, among(models, ["a", "b"]))]
    taken.append(pass_over(base, among(models, ["a", "b", "short"]), ["short"]))
    assert Statistics.merge(taken, ["a", "b"]).cut == ()
    every = ["a", "b", "short"]
    assert missing_pairs(taken, every) == {("a", "a"), ("a", "b"), ("b", "b")}
    with pytest.raises(MissingPairsError):
        Statistics.merge(taken, every)
    again = pass_over(base, among(models, every))
    united = Statistics.merge([*taken, again], every)
    assert united.cut == (TensorSize("embed", 15, 5, 6),)
    alone = Statistics.merge([again], every)
    for metric in ("pcc", "cosine", "euclidean"):
        np.testing.assert_allclose(
            np.array(united.matrix(metric), float), np.array(alone.matrix(metric), float)
        )


def test_a_tensor_that_a_model_lacks_counts_for_none_and_is_named(pass_over, base, models):
    taken = [pass_over(base, among(models, ["a", "b", "tied"]))]
    statistics = Statistics.merge(taken)
    assert statistics.absent == {"head": ("tied",)}
    assert [tensor.name for tensor in statistics.tensors] == ["body", "embed"]
    both = Statistics.merge(taken, ["a", "b"])
    assert both.absent == {}
    assert [tensor.name for tensor in both.tensors] == ["body", "embed", "head"]


def test_a_pass_of_an_earlier_format_counts_where_no_other_tells(pass_over, base, models):
    one = pass_over(base, among(models, ["a", "b"]))
    nudged = [dataclasses.replace(block, gram=block.gram * (1 + 1e-9)) for block in one.tensors]
    old = dataclasses.replace(one, tensors=tuple(nudged), format=1)
    for order in ([one, old], [old, one]):
        assert (Statistics.merge(order).gram == Statistics.merge([one]).gram).all()
    assert Statistics.merge([old]).pair("euclidean", "a", "b") == pytest.approx(
        Statistics.merge([one]).pair("euclidean", "a", "b"), rel=1e-8
    )


def test_only_the_pairs_that_are_asked_for_have_to_be_known(pass_over, base, models):
    taken = [pass_over(base, among(models, ["a", "b"]))]
    taken.append(pass_over(base, {"b": models["b"], "c": models["a"]}, ["c"]))
    assert missing_pairs(taken, "abc") == {("a", "c")}
    asked = [("b", "a"), ("c", "b")]
    assert missing_pairs(taken, "abc", asked) == frozenset()
    statistics = Statistics.merge(taken, "abc", asked)
    whole = Statistics.merge([pass_over(base, among(models, "ab") | {"c": models["a"]})])
    for a, b in asked:
        assert statistics.pair("pcc", a, b) == whole.pair("pcc", a, b)
    assert statistics.pair("pcc", "a", "c") is None
    with pytest.raises(MissingPairsError, match="a with c"):
        Statistics.merge(taken, "abc", [("c", "a")])


def test_passes_of_different_bases_or_weights_are_refused(pass_over, base, models):
    one = pass_over(base, among(models, ["a", "b"]))
    with pytest.raises(KinshipError, match="one base"):
        Statistics.merge([one, dataclasses.replace(one, base="other")])
    with pytest.raises(KinshipError, match="one base"):
        Statistics.merge([])
    with pytest.raises(PassFormatError, match="contradict"):
        Statistics.merge([one, pass_over(base, {"a": models["short"]})])
    with pytest.raises(PassFormatError, match="contradict"):
        Statistics.merge([one, pass_over(models["b"], among(models, ["short"]))])


@pytest.mark.parametrize(
    ("pairs", "chosen"),
    [
        ([], []),
        ([(2, 2)], [2]),
        ([(0, 3), (1, 3), (2, 3), (3, 3)], [3]),
        ([(0, 1)], [1]),
        ([(0, 0), (0, 1), (1, 1)], [0, 1]),
    ],
)
def test_few_models_cover_what_is_missing(pairs, chosen):
    missing = np.zeros((4, 4), bool)
    for a, b in pairs:
        missing[a, b] = missing[b, a] = True
    assert cover(missing) == chosen
