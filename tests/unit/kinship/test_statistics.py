"""The figures that derive from statistics, against numpy and against the laws they obey."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.kinship.errors import KinshipError, MissingPairsError
from evomerge.kinship.grouping import kind_of, layer_of
from evomerge.kinship.metrics import METRICS
from evomerge.kinship.statistics import Statistics

NAMES = (
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.input_layernorm.weight",
    "model.layers.10.self_attn.q_proj.weight",
    "model.layers.2.self_attn.q_proj.weight",
    "lm_head.weight",
)


def weights(seed, models="abcd", names=NAMES):
    """A base and correlated models, tensors of different sizes."""
    rng = np.random.default_rng(seed)
    shapes = {name: (3 + index, 4) for index, name in enumerate(names)}
    base = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    common = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return base, {
        model: {
            name: base[name] + 0.1 * (common[name] + rng.normal(size=shapes[name])) + 0.01
            for name in names
        }
        for model in models
    }


def flat(base, model, names=NAMES):
    return np.concatenate([(model[name] - base[name]).ravel() for name in names])


def expected(metric, a, b):
    if metric == "pcc":
        return np.corrcoef(a, b)[0, 1]
    if metric == "euclidean":
        return np.linalg.norm(a - b)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("metric", METRICS)
def test_totals_are_those_of_the_concatenated_deltas(pass_over, metric):
    base, models = weights(1)
    models["d"] = {name: 2 * base[name] - models["a"][name] for name in NAMES}
    statistics = Statistics.merge([pass_over(base, models)])
    for a, b in itertools.product("abcd", repeat=2):
        want = expected(metric, flat(base, models[a]), flat(base, models[b]))
        assert statistics.pair(metric, a, b) == pytest.approx(want, rel=1e-12, abs=1e-7)
    assert statistics.count == flat(base, models["a"]).size


@pytest.mark.parametrize("metric", METRICS)
def test_groups_are_those_of_their_tensors(pass_over, metric):
    base, models = weights(2)
    statistics = Statistics.merge([pass_over(base, models)])
    first = [name for name in NAMES if ".layers.0." in name]
    attention = [name for name in NAMES if "self_attn" in name]
    for group, names in (
        (statistics.split_by(layer_of)["model.layers.0"], first),
        (statistics.split_by(kind_of)["attention"], attention),
        (statistics.split_by(str)[NAMES[2]], [NAMES[2]]),
    ):
        want = expected(metric, flat(base, models["a"], names), flat(base, models["b"], names))
        assert group.pair(metric, "a", "b") == pytest.approx(want, rel=1e-12)


def test_groups_come_in_natural_order(pass_over):
    statistics = Statistics.merge([pass_over(*weights(3))])
    assert list(statistics.split_by(layer_of)) == [f"model.layers.{layer}" for layer in (0, 2, 10)]
    assert set(statistics.split_by(kind_of)) == {"attention", "embedding", "mlp", "norm"}
    assert len(statistics.split_by(str)) == len(NAMES)


def test_a_model_equal_to_the_base_is_undefined_and_never_zero(pass_over):
    base, models = weights(5, "ab")
    statistics = Statistics.merge([pass_over(base, models | {"same": dict(base)})])
    assert statistics.equal_to_base == ("same",)
    for metric in ("pcc", "cosine"):
        assert [row[-1] for row in statistics.matrix(metric)] == [None] * 3
        assert statistics.pair(metric, "same", "a") is None
        assert statistics.pair(metric, "a", "b") is not None
    delta = np.linalg.norm(flat(base, models["a"]))
    assert statistics.pair("euclidean", "same", "a") == pytest.approx(delta)
    assert statistics.pair("euclidean", "same", "same") == 0


def test_a_constant_delta_has_a_cosine_but_no_pcc(pass_over):
    base, models = weights(6, "a")
    models["shifted"] = {name: base[name] + 0.125 for name in NAMES}
    statistics = Statistics.merge([pass_over(base, models)])
    assert statistics.pair("pcc", "a", "shifted") is None
    assert statistics.pair("cosine", "a", "shifted") is not None


def test_a_frozen_tensor_does_not_spoil_the_total(pass_over):
    base, models = weights(7, "ab")
    models["a"] = models["a"] | {NAMES[0]: base[NAMES[0]]}
    statistics = Statistics.merge([pass_over(base, models)])
    assert statistics.split_by(str)[NAMES[0]].pair("pcc", "a", "b") is None
    want = expected("pcc", flat(base, models["a"]), flat(base, models["b"]))
    assert statistics.pair("pcc", "a", "b") == pytest.approx(want, rel=1e-12)


def test_without_any_tensor_everything_is_undefined(pass_over):
    empty = Statistics.merge([pass_over(*weights(8))]).without("*")
    for metric in METRICS:
        assert empty.pair(metric, "a", "b") is None
    assert empty.count == 0


def test_patterns_are_shell_patterns_over_whole_names(pass_over):
    statistics = Statistics.merge([pass_over(*weights(9))])
    kept = {tensor.name for tensor in statistics.without("*norm*", "lm_head.*", "embed").tensors}
    assert kept == set(NAMES) - {NAMES[3], NAMES[6]}
    assert len(statistics.without("model.layers.[0-3].*").tensors) == 3


def test_what_is_not_there_is_an_error(pass_over):
    statistics = Statistics.merge([pass_over(*weights(10))])
    with pytest.raises(KinshipError, match="no statistics of x"):
        statistics.pair("pcc", "a", "x")
    with pytest.raises(KinshipError, match="unknown kinship metric 'euclid'"):
        statistics.matrix("euclid")


def test_statistics_cannot_be_changed(pass_over):
    statistics = Statistics.merge([pass_over(*weights(11))])
    with pytest.raises(ValueError, match="read-only"):
        statistics.gram[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        statistics.models = ()


seeds = st.integers(0, 2**32 - 1)
metrics = st.sampled_from(METRICS)


@settings(deadline=None, max_examples=30)
@given(seeds, metrics)
def test_kinship_is_symmetric_and_one_with_oneself(pass_over, seed, metric):
    matrix = Statistics.merge([pass_over(*weights(seed))]).matrix(metric)
    array = np.array(matrix)
    assert (array == array.T).all()
    own = 0 if metric == "euclidean" else 1
    assert np.diag(array) == pytest.approx(np.full(4, own), abs=1e-12)
    if metric != "euclidean":
        assert (np.abs(array) <= 1).all()


@settings(deadline=None, max_examples=30)
@given(seeds, metrics, st.permutations("abcd"))
def test_the_order_of_the_models_does_not_matter(pass_over, seed, metric, order):
    base, models = weights(seed)
    there = Statistics.merge([pass_over(base, models)], order).matrix(metric)
    shuffled = pass_over(base, {model: models[model] for model in order})
    here = Statistics.merge([shuffled], order)
    assert np.array(there) == pytest.approx(np.array(here.matrix(metric)), abs=1e-12)
    assert here.select("abcd").models == tuple("abcd")


@settings(deadline=None, max_examples=30)
@given(seeds, st.randoms(use_true_random=False), st.integers(1, 3))
def test_passes_in_any_order_are_as_one(pass_over, seed, random, first):
    base, models = weights(seed)
    passes = [pass_over(base, {model: models[model] for model in "abcd"[:first]})]
    for count in range(first + 1, 5):
        present = {model: models[model] for model in "abcd"[:count]}
        passes.append(pass_over(base, present, ["abcd"[count - 1]]))
    random.shuffle(passes)
    united = Statistics.merge(passes)
    whole = Statistics.merge([pass_over(base, models)])
    assert united.models == whole.models
    assert united.tensors == whole.tensors
    np.testing.assert_allclose(united.gram, whole.gram, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(seeds, metrics, st.sets(st.sampled_from(NAMES), max_size=len(NAMES) - 1))
def test_excluded_tensors_have_no_effect(pass_over, seed, metric, left):
    base, models = weights(seed)
    names = [name for name in NAMES if name not in left]
    fewer = pass_over(
        {name: base[name] for name in names},
        {model: {name: held[name] for name in names} for model, held in models.items()},
    )
    after = Statistics.merge([pass_over(base, models)]).without(*left).matrix(metric)
    assert after == Statistics.merge([fewer]).matrix(metric)


def test_concurrent_passes_unite_whatever_their_order(pass_over):
    base, models = weights(12)
    one = pass_over(base, {key: models[key] for key in "abc"})
    other = pass_over(base, {key: models[key] for key in "bcd"})
    with pytest.raises(MissingPairsError, match="a with d") as caught:
        Statistics.merge([one, other])
    assert caught.value.pairs == {("a", "d")}
    assert Statistics.merge([one, other], "bcd").models == ("b", "c", "d")
    last = pass_over(base, models, ["d"])
    united = [Statistics.merge(order).gram for order in itertools.permutations([one, other, last])]
    assert all((gram == united[0]).all() for gram in united)
