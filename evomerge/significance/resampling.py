"""Bootstrap of the difference of two models by an objective that is not a mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evomerge.domain.objective import Combination
from evomerge.significance.combination import Floats, difference
from evomerge.significance.intervals import LEVEL

_RESAMPLES = 9_999
_FEW = 16  # largest number of distinct items for which counts are drawn instead of items
_BLOCK = 4_000_000  # items per block
_OUTCOMES = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
_UNSEEN = 0.5
"""Pseudo-count for each outcome of a binary item (Jeffreys' prior): models that agree on every
observed item may differ on unobserved ones."""


class Resampled(NamedTuple):
    """A 95 % interval in points, and the two-sided p value from inverting the interval at 0."""

    low: float
    high: float
    p: float


def bootstrap(
    a: Sequence[Floats], b: Sequence[Floats], objective: Combination, seed: int
) -> Resampled:
    """The percentile bootstrap of objective(a) − objective(b), resampled within each task.

    An item is resampled with both models' results. The minimum over tasks is not differentiable
    where two tasks tie, so that BCa intervals are too short there, while percentile intervals are
    conservative (see Andrews 2000, *Inconsistency of the bootstrap when a parameter is on the
    boundary of the parameter space*, Econometrica 68:399–405).

    Args:
        a, b: each task's results on the same items in the same order, in [0, 1].
    """
    rng = np.random.default_rng(seed)
    means = [_means(np.stack(both, axis=1), rng) for both in zip(a, b, strict=True)]
    drawn = difference(objective, np.array(means))
    low, high = np.quantile(drawn, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    tails = min(np.count_nonzero(drawn <= 1e-9), np.count_nonzero(drawn >= -1e-9))
    return Resampled(float(low), float(high), min(1.0, 2.0 * (tails + 1) / (_RESAMPLES + 1)))


def _means(items: Floats, rng: np.random.Generator) -> Floats:
    """Means of both models over bootstrap samples of the items, shape (2, resamples).

    Args:
        items: shape (items, 2).
    """
    kinds, counts = np.unique(items, axis=0, return_counts=True)
    if np.isin(kinds, [0.0, 1.0]).all():
        counts = np.array([np.all(items == each, axis=1).sum() + _UNSEEN for each in _OUTCOMES])
        kinds = _OUTCOMES
    if len(kinds) <= _FEW:
        drawn = rng.multinomial(len(items), counts / counts.sum(), _RESAMPLES)
        return np.asarray((drawn @ kinds / len(items)).T)
    step = max(1, _BLOCK // len(items))
    blocks = (min(step, _RESAMPLES - start) for start in range(0, _RESAMPLES, step))
    chosen = (rng.integers(0, len(items), (size, len(items))) for size in blocks)
    return np.concatenate([items[each].mean(axis=1) for each in chosen]).T
