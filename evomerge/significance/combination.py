"""Objectives vectorised over arrays of task scores."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evomerge.domain.objective import Combination

Floats: TypeAlias = NDArray[np.float64]


def values(objective: Combination, points: Floats) -> Floats:
    """`Combination.value`, vectorised along the first axis.

    Args:
        points: scores of each task in points, shape (tasks, …).

    Returns:
        The objective in points, shape (…).
    """
    rest = (1,) * (points.ndim - 1)
    scaled = np.reshape(objective.offsets, (-1, *rest)) + points * np.reshape(
        objective.slopes, (-1, *rest)
    )
    if objective.name == "worst":
        return np.asarray(scaled.min(axis=0))
    if objective.name == "mean":
        return np.asarray(np.tensordot(np.array(objective.shares), scaled, axes=1))
    powers = np.maximum(scaled, 0.0) ** np.reshape(objective.shares, (-1, *rest))
    return np.asarray(powers.prod(axis=0))


def difference(objective: Combination, means: Floats) -> Floats:
    """The objective of one model minus that of another, in points.

    Args:
        means: mean item results of both models, from 0 to 1, shape (tasks, 2, …).
    """
    return values(objective, 100.0 * means[:, 0]) - values(objective, 100.0 * means[:, 1])
