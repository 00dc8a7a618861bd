"""Recipes, scores, kinship and stopping: small laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from evomerge.config.choices import AnyCriterion
from evomerge.domain.identity import canonical_json, content_id, derived_seed
from evomerge.domain.kinship import KinshipMatrix, KinshipReading, Metric
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.domain.scores import TaskScore

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def recipe(**changes):
    values = {
        "method": "ties",
        "parents": (Ingredient(model="a", parameters={"weight": 0.5}), Ingredient(model="b")),
        "base": "base",
        "parameters": {"normalize": True, "lambda": 1.0},
        "engine": "mergekit 0.1.5",
    }
    return Recipe(**{**values, **changes})


@given(st.dictionaries(st.text(), json_values), st.randoms())
def test_ids_do_not_depend_on_key_order(value, order):
    items = list(value.items())
    order.shuffle(items)
    assert content_id("x", 1, dict(items)) == content_id("x", 1, value)


@given(json_values)
def test_canonical_json_is_stable(value):
    import json

    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


def test_nan_has_no_identity():
    with pytest.raises(ValueError, match="not finite"):
        content_id("x", 1, {"a": math.nan})


def test_one_and_one_point_zero_are_one_number():
    assert recipe(parameters={"lambda": 1}).id == recipe(parameters={"lambda": 1.0}).id


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "dare_ties"},
        {"parents": (Ingredient(model="b"), Ingredient(model="a", parameters={"weight": 0.5}))},
        {"base": "other"},
        {"parameters": {"normalize": False, "lambda": 1.0}},
        {"dtype": "bfloat16"},
        {"tokenizer": "union"},
        {"chat_template": "auto"},
        {"seed": 3},
        {"options": {"allow_crimes": True}},
        {"fragment": {"merge_method": "x"}},
        {"engine": "mergekit 0.2.0"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_changes_the_weights_changes_the_id(changes):
    assert recipe(**changes).id != recipe().id
    assert (
        Recipe.model_validate_json(recipe(**changes).model_dump_json()).id == recipe(**changes).id
    )


def test_a_frozen_recipe_keeps_its_id():
    """If this fails, every store in the world is lost: raise RECIPE_VERSION instead."""
    assert recipe().id == "merge1-108197a920c3860b6b29a698a5c62a95"


def test_derived_seeds_differ_and_fit():
    seeds = {derived_seed("merge", 1, str(number)) for number in range(200)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 100.1])
def test_a_score_is_a_number_of_points(value):
    with pytest.raises(ValidationError):
        TaskScore(task="a", metric="acc", value=value, samples=1)


names = st.sampled_from("abcde")


@given(st.dictionaries(st.tuples(names, names), st.floats(-1, 1)))
def test_kinship_is_symmetric(values):
    readings = [KinshipReading(models=pair, pcc=value) for pair, value in values.items()]
    matrix = KinshipMatrix.of(Metric.PCC, {reading.models: reading for reading in readings})
    for a in "abcde":
        for b in "abcde":
            assert matrix.between(a, b) == matrix.between(b, a)


def test_kinship_of_n_models_is_the_mean_over_pairs():
    matrix = KinshipMatrix(Metric.PCC, {("a", "b"): 0.2, ("a", "c"): 0.4, ("b", "c"): 0.9})
    assert matrix.mean(["c", "a", "b"]) == pytest.approx(0.5)
    assert matrix.mean(["a", "x"]) is None
    assert matrix.mean(["a"]) is None


def test_criteria_can_be_named_or_spelled_out():
    adapter = TypeAdapter(tuple[AnyCriterion, ...])
    named = adapter.validate_python(["pool_unchanged", "kinship_saturation"])
    spelled = adapter.validate_python(
        [{"pool_unchanged": True}, {"kinship_saturation": {"threshold": 0.9}}]
    )
    assert named == spelled


WEIGHED = {"method": "wudi", "base": "files1-base", "parameters": {"epsilon": 0.3}}


def weighing(*weights, names="ab", **changes):
    pairs = zip(names, weights, strict=True)
    parents = tuple(Ingredient(model=f"files1-{n}", parameters={"weight": w}) for n, w in pairs)
    return recipe(**{**WEIGHED, "parents": parents, **changes})


def test_a_recipe_of_an_earlier_version_keeps_its_id():
    assert weighing(1.0, 1.0).id == "merge1-1dbeb5804d8e6832ffc558fbc02c4949"
    assert "disentangled" not in weighing(1.0, 1.0).model_dump()
    assert weighing(1.0, 1.0).task_vectors is None
    assert weighing(1.0, 1.0, disentangled=True).id != weighing(1.0, 1.0).id


def test_task_vectors_do_not_depend_on_weights_or_the_order_of_parents():
    first = weighing(1.0, 0.5, disentangled=True)
    for same in (
        weighing(0.0, 2.0, disentangled=True),
        weighing(0.5, 1.0, names="ba", disentangled=True),
        weighing(1.0, 0.5, disentangled=True, chat_template="chatml"),
    ):
        assert same.task_vectors == first.task_vectors
        assert same.id != first.id
    for other in (
        weighing(1.0, 0.5, disentangled=True, parameters={"epsilon": 0.4}),
        weighing(1.0, 0.5, disentangled=True, dtype="bfloat16"),
        weighing(1.0, 0.5, disentangled=True, base="files1-other"),
        weighing(1.0, 0.5, disentangled=True, tokenizer="union"),
        weighing(1.0, 0.5, names="ac", disentangled=True),
        weighing(1.0, 0.5, disentangled=True, options={"threads": 2}),
    ):
        assert other.task_vectors != first.task_vectors
    assert first.inputs == ("files1-base", first.task_vectors)
    assert first.of_task_vectors.inputs == ("files1-a", "files1-b", "files1-base")
