"""Exact linear combinations in float64: predicted statistics are the computed ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.kinship import Statistics
from evomerge.kinship.prediction.bars import Estimate
from evomerge.kinship.prediction.predict import predict

NAMES = ("model.embed.weight", *(f"model.layers.{i}.self_attn.q.weight" for i in range(3)), "head")


def family(seed: int, count: int = 3, ratio: float = 0.3):
    generator = np.random.default_rng(seed)
    base = {name: generator.normal(size=(5, 7)) for name in NAMES}
    return base, {
        f"m{i}": {name: each + ratio * generator.normal(size=each.shape)
                  for name, each in base.items()}
        for i in range(count)
    }  # fmt: skip


def recipe(method, parents, base, parameters=None, own=None, **more):
    own = own or [{}] * len(parents)
    return Recipe(
        method=method,
        parents=tuple(Ingredient(model=m, parameters=p) for m, p in zip(parents, own, strict=True)),
        base=base,
        parameters=parameters or {},
        engine="test",
        **more,
    )


def statistics_of(pass_over, base, models):
    return Statistics.merge([pass_over(base, models)], list(models))


def check(pass_over, base, models, made, prediction):
    """The whole Gram array, and every metric, against direct computation."""
    real = statistics_of(pass_over, base, {**models, **made})
    found = prediction.statistics.select(real.models)
    scale = np.abs(real.gram).max()
    np.testing.assert_allclose(found.gram, real.gram, rtol=0, atol=1e-12 * scale)
    for metric in ("pcc", "cosine", "euclidean"):
        mine = np.array(found.matrix(metric), float)
        np.testing.assert_allclose(mine, np.array(real.matrix(metric), float), atol=1e-9)


weights = st.lists(st.floats(0.1, 2), min_size=2, max_size=3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), weights=weights, normalize=st.booleans())
def test_linear(pass_over, seed, weights, normalize):
    base, models = family(seed)
    parents = list(models)[: len(weights)]
    own = [{"weight": weight} for weight in weights]
    child = recipe("linear", parents, parents[0], {"normalize": normalize}, own)
    total = sum(weights) if normalize else 1
    made = {
        name: sum(w * models[m][name] for w, m in zip(weights, parents, strict=True)) / total
        for name in base
    }
    prediction = predict(statistics_of(pass_over, base, models), [child], dtype="float64")
    check(pass_over, base, models, {child.id: made}, prediction)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    weights=weights,
    scale=st.floats(0.2, 2),
    normalize=st.booleans(),
    over=st.sampled_from(["base", "m0"]),
)
def test_task_arithmetic_over_the_base_or_over_a_model(
    pass_over, seed, weights, scale, normalize, over
):
    base, models = family(seed)
    parents = list(models)[: len(weights)]
    own = [{"weight": weight} for weight in weights]
    shared = {"normalize": normalize, "lambda": scale}
    child = recipe("task_arithmetic", parents, over, shared, own)
    origin = base if over == "base" else models[over]
    moved = {m: w for m, w in zip(parents, weights, strict=True) if m != over}
    total = sum(moved.values()) if normalize else 1
    made = {
        name: origin[name]
        + scale * sum(w * (models[m][name] - origin[name]) for m, w in moved.items()) / total
        for name in base
    }
    prediction = predict(statistics_of(pass_over, base, models), [child], dtype="float64")
    check(pass_over, base, models, {child.id: made}, prediction)


def slerp(t, a, b):
    dot = np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
    if abs(dot) > 0.9995:
        return (1 - t) * a + t * b
    theta = np.arccos(dot)
    return (np.sin((1 - t) * theta) * a + np.sin(t * theta) * b) / np.sin(theta)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99), ratio=st.floats(0.005, 0.5), t=st.floats(0, 1), second=st.booleans()
)
def test_slerp_on_both_sides_of_the_threshold_over_three_generations(
    pass_over, seed, ratio, t, second
):
    base, models = family(seed, ratio=ratio)
    made, recipes, everything = {}, [], dict(models)
    for a, b in (("m0", "m1"), ("m1", "m2")):
        recipes.append(recipe("slerp", [a, b], b if second else a, {"t": t}))
    recipes.append(recipe("slerp", [recipes[0].id, recipes[1].id], recipes[0].id, {"t": t}))
    recipes.append(recipe("slerp", [recipes[2].id, "m0"], recipes[2].id, {"t": t}))
    for child in recipes:
        a, b = (parent.model for parent in child.parents)
        a, b = (b, a) if child.base == b else (a, b)
        made[child.id] = {n: slerp(t, everything[a][n], everything[b][n]) for n in base}
        everything[child.id] = made[child.id]
    # In any order: grandchildren wait for their parents.
    known = statistics_of(pass_over, base, models)
    prediction = predict(known, recipes[::-1], dtype="float64")
    real = statistics_of(pass_over, base, everything)
    found = prediction.statistics.select(real.models)
    # acos loses half of the digits of an angle that is nearly 0.
    np.testing.assert_allclose(found.gram, real.gram, rtol=0, atol=1e-9 * np.abs(real.gram).max())


def test_siblings_are_predicted_among_themselves_in_one_call(pass_over):
    base, models = family(1)
    children = [
        recipe("linear", pair, pair[0], {"weight": 0.5})
        for pair in (["m0", "m1"], ["m1", "m2"], ["m0", "m2"])
    ]
    made = {
        one.id: {
            name: sum(models[parent.model][name] for parent in one.parents) / 2 for name in base
        }
        for one in children
    }
    prediction = predict(statistics_of(pass_over, base, models), children, dtype="float64")
    check(pass_over, base, models, made, prediction)
    estimate = prediction.pair("pcc", children[0].id, children[1].id)
    assert estimate.predicted
    assert 0 < estimate.error < 1e-5
    assert prediction.pair("pcc", "m0", "m1").predicted is False
    assert prediction.pair("pcc", "m0", "m1").error == 0


def test_a_base_that_is_a_parent(pass_over):
    base, models = family(2)
    child = recipe("slerp", ["m0"], "base", {"t": 0.25})
    known = statistics_of(pass_over, base, models)
    made = {child.id: {name: slerp(0.25, base[name], models["m0"][name]) for name in base}}
    check(pass_over, base, models, made, predict(known, [child], dtype="float64"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"method": "ties"}, "samples"),
        ({"tokenizer": "union"}, "vocabularies"),
        ({"parents": (Ingredient(model="m0"), Ingredient(model="nobody"))}, "nobody"),
        ({"parents": (Ingredient(model="m0"), Ingredient(model="m0"))}, "twice"),
        ({"parents": tuple(Ingredient(model=f"m{i}") for i in range(3))}, "two inputs"),
        ({"parameters": {}}, "parameter t"),
        ({"method": "linear", "parameters": {"weight": 0}}, "sum to 0"),
    ],
)
def test_what_cannot_be_told_is_refused_with_its_reason(pass_over, changes, why):
    base, models = family(3)
    good = recipe("slerp", ["m0", "m1"], "m0", {"t": 0.5})
    bad = good.model_copy(update=changes)
    bad = Recipe.model_validate(bad.model_dump())
    prediction = predict(statistics_of(pass_over, base, models), [good, bad])
    assert why in prediction.refused[bad.id]
    assert prediction.pair("pcc", bad.id, "m0") == Estimate(None, None)
    assert prediction.pair("pcc", good.id, "m0").predicted


def test_a_child_of_a_refused_child_is_refused(pass_over):
    base, models = family(3)
    first = recipe("ties", ["m0", "m1"], "base", {"weight": 1})
    second = recipe("slerp", [first.id, "m0"], "m0", {"t": 0.5})
    prediction = predict(statistics_of(pass_over, base, models), [second, first])
    assert set(prediction.refused) == {first.id, second.id}


def test_a_wide_bar_leaves_the_value_out(pass_over):
    base, models = family(4, ratio=0.004)
    child = recipe("linear", ["m0", "m1"], "m0", {"weight": 0.5}, dtype="bfloat16")
    prediction = predict(statistics_of(pass_over, base, models), [child])
    estimate = prediction.pair("pcc", child.id, "m0")
    assert estimate.value is None
    assert estimate.error > 0.05
    assert prediction.pair("pcc", child.id, "m0", worst=1).value is not None


def test_a_child_equal_to_the_base_is_undefined(pass_over):
    base, models = family(5)
    models["m0"] = base
    models["m1"] = base
    child = recipe("linear", ["m0", "m1"], "m0", {"weight": 0.5})
    estimate = predict(statistics_of(pass_over, base, models), [child]).pair("pcc", child.id, "m2")
    assert estimate == Estimate(None, None)


def test_linear_predictions_need_neither_torch_nor_mergekit():
    check = "import sys; sys.exit('torch' in sys.modules or 'mergekit' in sys.modules)"
    modules = "evomerge.kinship.prediction.predict, evomerge.kinship.prediction.refit"
    subprocess.run([sys.executable, "-c", f"import {modules}; {check}"], check=True)
