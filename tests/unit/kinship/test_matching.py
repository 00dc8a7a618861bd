"""Which tensor of a model answers to which of the base."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from evomerge.domain.errors import CandidateError
from evomerge.kinship.errors import KinshipError, ShapeMismatchError
from evomerge.kinship.headers import ITEM_SIZES, StoredTensor
from evomerge.kinship.matching import match


def folder(**tensors):
    """Stored tensors by name (`__` for a dot), each given as (dtype, *shape) or a shape."""
    stored = {}
    for key, given in tensors.items():
        dtype, *shape = given if isinstance(given[0], str) else ("BF16", *given)
        name = key.replace("__", ".")
        size = math.prod(shape) * ITEM_SIZES[dtype]
        stored[name] = StoredTensor(name, dtype, tuple(shape), Path("x"), 0, size)
    return stored


BASE = folder(model__embed=(10, 4), model__layers__0__w=(4, 4), lm_head=(10, 4))


def test_equal_names_match_whatever_their_dtype():
    model = folder(model__embed=("F32", 10, 4), model__layers__0__w=(4, 4), lm_head=("F16", 10, 4))
    found = match("base", BASE, {"m": model})
    assert [tensor.name for tensor in found.tensors] == [
        "lm_head",
        "model.embed",
        "model.layers.0.w",
    ]
    assert found.extra == found.skipped == found.renamed == {}


@pytest.mark.parametrize(
    "names",
    [
        ("embed", "layers.0.w", "lm_head"),
        ("model.language_model.embed", "model.language_model.layers.0.w", "lm_head"),
        ("language_model.model.embed", "language_model.model.layers.0.w", "language_model.lm_head"),
        ("base_model.model.model.embed", "base_model.model.model.layers.0.w", "model.lm_head"),
    ],
)
def test_wrapped_names_match_by_their_ending(names):
    model = folder(
        **{
            name.replace(".", "__"): shape
            for name, shape in zip(names, [(10, 4), (4, 4), (10, 4)], strict=True)
        }
    )
    found = match("base", BASE, {"m": model})
    assert all("m" in tensor.models for tensor in found.tensors)
    expected = dict(zip(("model.embed", "model.layers.0.w", "lm_head"), names, strict=True))
    assert found.renamed == {
        "m": {name: other for name, other in expected.items() if name != other}
    }


def test_ambiguous_endings_do_not_match():
    model = folder(
        embed=(10, 4),
        language_model__embed=(10, 4),
        vision_tower__layers__0__w=(4, 4),
        lm_head=(10, 4),
    )
    found = match("base", BASE, {"m": model})
    assert [tensor.name for tensor in found.tensors if tensor.models] == ["lm_head"]
    assert found.extra == {"m": ("embed", "language_model.embed", "vision_tower.layers.0.w")}


def test_rows_are_the_fewest_of_all_and_never_more_than_the_base_has():
    found = match(
        "base",
        BASE,
        {
            "more": folder(model__embed=(12, 4), lm_head=(10, 4)),
            "fewer": folder(model__embed=(12, 4), lm_head=(9, 4)),
        },
    )
    rows = {tensor.name: (tensor.rows, tensor.count) for tensor in found.tensors}
    assert rows == {"lm_head": (9, 36), "model.embed": (10, 40), "model.layers.0.w": (4, 16)}


@pytest.mark.parametrize("shape", [(4, 5), (4,), (4, 4, 1)])
def test_other_shapes_are_an_error_that_names_all(shape):
    models = {"fine": BASE, "odd": folder(model__layers__0__w=shape)}
    with pytest.raises(ShapeMismatchError) as caught:
        match("base", BASE, models)
    assert isinstance(caught.value, CandidateError)
    for part in ("model.layers.0.w", "model odd", str(list(shape)), "[4, 4]"):
        assert part in str(caught.value)


def test_tensors_that_are_not_weights_are_named():
    base = BASE | folder(steps=("I64", 1), nothing=(0, 4), mask=("BOOL", 3))
    model = dict(base) | folder(model__layers__0__w=("U8", 2, 4), rotary=(3,))
    found = match("base", base, {"m": model})
    assert found.skipped == {
        "base": {"steps": "I64", "nothing": "empty", "mask": "BOOL"},
        "m": {"model.layers.0.w": "U8"},
    }
    assert found.extra == {"m": ("rotary",)}
    assert {tensor.name for tensor in found.tensors if tensor.models} == {"lm_head", "model.embed"}


def test_nothing_in_common_is_an_error():
    with pytest.raises(KinshipError, match="model m shares no floating-point tensor with base"):
        match("base", BASE, {"m": folder(other=(3,))})
