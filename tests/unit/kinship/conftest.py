"""Passes worked out in float64 from small arrays, as a measuring pass would have found them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from evomerge.kinship.passes import Pass, TensorBlock

Weights = Mapping[str, np.ndarray]


def take_pass(
    base: Weights, models: Mapping[str, Weights], new: Sequence[str] | None = None
) -> Pass:
    """The pass over `models` in which `new` (default: all) are measured against all."""
    ids = tuple(models)
    fresh = tuple(index for index, model in enumerate(ids) if new is None or model in new)
    blocks = []
    for name, weights in base.items():
        held = [models[model].get(name) for model in ids]
        model_rows = tuple(0 if one is None else len(one) for one in held)
        rows = min([len(weights), *(count for count in model_rows if count)])
        size = rows * weights[0].size
        origin = weights[:rows].ravel()
        deltas = [
            np.full(size, np.nan) if one is None else one[:rows].ravel() - origin for one in held
        ]
        present = tuple(index for index in fresh if model_rows[index])
        vectors = np.array([np.ones(size), *deltas])
        left = vectors[[1 + index for index in present]]
        # Rounded once, so that a product does not depend on what is beside it.
        gram = np.array([[math.fsum(one * other) for other in vectors] for one in left])
        gram = gram.reshape(len(left), len(vectors))
        blocks.append(
            TensorBlock(name, weights[0].size, len(weights), rows, model_rows, present, gram)
        )
    return Pass("base", ids, tuple(blocks))


@pytest.fixture(scope="session")
def pass_over() -> Callable[..., Pass]:
    """`take_pass`, for tests."""
    return take_pass
