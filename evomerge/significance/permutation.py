"""Chance, drawn: sign-flip tests of paired differences, over one task or several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evomerge.domain.objective import Combination
from evomerge.significance.combination import Floats, difference

_DRAWS = 19_999
_BLOCK = 1 << 23  # signs drawn at a time
_FLOOR = 1e-18  # of a variance: where all items agree it is zero


def flip_p(differences: Sequence[Floats], shares: Sequence[float], seed: int) -> float:
    """The two-sided p of Σ share · mean(differences of a task) under random signs.

    If the models are equal, swapping their answers to an item changes nothing, so every sign of
    every difference is as likely as the other: an exact test for any metric, stratified by task
    (Fisher 1935). The statistic is divided by its standard error, anew for every draw, so that the
    test also holds for models that differ on each task and are equal on the whole only (Janssen
    1997, *Studentized permutation tests for non-i.i.d. hypotheses*, Statistics & Probability
    Letters 36:9–21). p is (hits + 1) / (draws + 1) (Phipson & Smyth 2010, *Permutation p-values
    should never be zero*, SAGMB 9:39): the smallest is 1/20,000.

    Args:
        differences: of each task, one an item.
        shares: of each task in the mean.
    """
    rng = np.random.default_rng(seed)
    observed, drawn = _Statistic(1), _Statistic(_DRAWS)
    for values, share in zip(differences, shares, strict=True):
        sums = _flipped_sums(np.abs(values[values != 0.0]), rng)
        observed.add(np.array([values.sum()]), values, share)
        drawn.add(sums, values, share)
    bar = float(observed.values[0]) * (1.0 - 1e-9)  # sums in another order are no other sums
    return float((np.count_nonzero(drawn.values >= bar) + 1) / (_DRAWS + 1))


def swap_p(a: Sequence[Floats], b: Sequence[Floats], objective: Combination, seed: int) -> float:
    """The two-sided p of objective(a) − objective(b) when the models swap their results on items.

    The same test for an objective that is no mean. It is exact where the models are equal on every
    item; models that differ on the tasks and are level on the whole it may tell apart.

    Args:
        a, b: each task's results on the same items in the same order, in [0, 1].
    """
    rng = np.random.default_rng(seed)
    observed, drawn = [], []
    for one, two in zip(a, b, strict=True):
        apart = one - two
        middle = float(one.mean() + two.mean()) / 2.0
        half = _flipped_sums(np.abs(apart[apart != 0.0]), rng) / (2.0 * len(apart))
        drawn.append([middle + half, middle - half])
        observed.append([one.mean(), two.mean()])
    found = np.abs(difference(objective, np.array(drawn)))
    bar = abs(float(difference(objective, np.array(observed)))) - 1e-9
    return float((np.count_nonzero(found >= bar) + 1) / (_DRAWS + 1))


class _Statistic:
    """|mean| over its standard error, task by task, for many draws at once."""

    def __init__(self, draws: int) -> None:
        self._mean = np.zeros(draws)
        self._variance = np.zeros(draws)

    def add(self, sums: Floats, values: Floats, share: float) -> None:
        """Add a task whose signed differences sum up to `sums`; their squares keep no sign."""
        items = len(values)
        means = sums / items
        spread = np.maximum(float(np.dot(values, values)) / items - means**2, 0.0)
        self._mean += share * means
        self._variance += share**2 * spread / max(1, items - 1)

    @property
    def values(self) -> Floats:
        """The statistic of each draw."""
        return np.asarray(np.abs(self._mean) / np.sqrt(self._variance + _FLOOR))


def _flipped_sums(sizes: Floats, rng: np.random.Generator) -> Floats:
    """Sums of `sizes` with random signs, `_DRAWS` of them."""
    if len(sizes) == 0:
        return np.zeros(_DRAWS)
    if np.all(sizes == sizes[0]):  # right or wrong: the signs only need counting
        positive = rng.binomial(len(sizes), 0.5, _DRAWS)
        return np.asarray(sizes[0] * (2.0 * positive - len(sizes)))
    sums = np.empty(_DRAWS)
    step = max(1, _BLOCK // len(sizes))
    for start in range(0, _DRAWS, step):
        count = min(step, _DRAWS - start)
        signs = rng.integers(0, 2, (count, len(sizes)), dtype=np.int8)
        sums[start : start + count] = 2.0 * (signs @ sizes)
    return sums - sizes.sum()
