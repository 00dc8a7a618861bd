"""Parameters at a tensor: as mergekit's own functions evaluate them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mergekit.config import ConditionalParameter, evaluate_setting

from evomerge.kinship.prediction.settings import depths, evaluate

NAMES = ("model.embed_tokens.weight", "model.layers.3.self_attn.q_proj.weight", "lm_head.weight")

numbers = st.floats(-2, 2)
scalars = st.one_of(numbers, st.integers(-2, 2))
gradients = st.one_of(scalars, st.lists(scalars, min_size=1, max_size=6))
filters = st.sampled_from(["self_attn", "mlp", "*", "lm_head", None])
filtered = st.lists(
    st.builds(lambda name, value: {"filter": name, "value": value}, filters, gradients),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(
    setting=st.one_of(gradients, filtered),
    name=st.sampled_from(NAMES),
    depth=st.sampled_from([0, 0.25, 1 / 3, 0.5, 31 / 32, 1]),
)
def test_as_mergekit_does(setting, name, depth):
    theirs = setting
    if isinstance(setting, list) and isinstance(setting[0], dict):
        theirs = [ConditionalParameter.model_validate(item) for item in setting]
    expected = evaluate_setting(name, theirs, depth, validate=float)
    found = evaluate(setting, name, depth)
    assert (None if found is None else float(found)) == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [([True, False], True), ({"filter": "q_proj", "value": 2}, 2), ([], None)],
)
def test_other_spellings(setting, expected):
    assert evaluate(setting, NAMES[1], 0.5) == expected


def test_depth_of_tensors_in_and_outside_of_layers():
    names = [f"model.layers.{layer}.mlp.weight" for layer in range(5)]
    found = depths([*names, "model.norm.weight", "vision.blocks.0.weight", "lm_head.weight"])
    assert [found[name] for name in names] == [0, 0.25, 0.5, 0.75, 1]
    assert found["model.norm.weight"] == found["lm_head.weight"] == 0
    assert found["vision.blocks.0.weight"] == 1
