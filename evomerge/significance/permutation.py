"""Sign-flip permutation tests of paired differences, over one or several tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evomerge.domain.objective import Combination
from evomerge.significance.combination import Floats, difference

_DRAWS = 19_999
_BLOCK = 1 << 23  # signs per block
_FLOOR = 1e-18  # lower bound of a variance, which is zero if all items agree


def flip_p(differences: Sequence[Floats], shares: Sequence[float], seed: int) -> float:
    """The two-sided p value of Σ share · mean(differences of a task) under random signs.

    If the models are equal, swapping their answers to an item changes nothing, so both signs of
    every difference are equally likely: an exact test for any metric, stratified by task
    (Fisher 1935). The statistic is studentized in every draw, so that the test is also valid for
    models that differ on single tasks and are equal only overall (Janssen
    1997, *Studentized permutation tests for non-i.i.d. hypotheses*, Statistics & Probability
    Letters 36:9–21). p is (hits + 1) / (draws + 1) (Phipson & Smyth 2010, *Permutation p-values
    should never be zero*, SAGMB 9:39): the smallest is 1/20,000.

    Args:
        differences: for each task, an array of shape (items,).
        shares: weight of each task in the mean.
    """
    rng = np.random.default_rng(seed)
    observed, drawn = _Statistic(1), _Statistic(_DRAWS)
    for values, share in zip(differences, shares, strict=True):
        sums = _flipped_sums(np.abs(values[values != 0.0]), rng)
        observed.add(np.array([values.sum()]), values, share)
        drawn.add(sums, values, share)
    bar = float(observed.values[0]) * (1.0 - 1e-9)  # tolerance for the order of summation
    return float((np.count_nonzero(drawn.values >= bar) + 1) / (_DRAWS + 1))


def swap_p(a: Sequence[Floats], b: Sequence[Floats], objective: Combination, seed: int) -> float:
    """The two-sided p value of objective(a) − objective(b) under swaps of item results.

    The same test for an objective that is not a mean. It is exact if the models are equal on every
    item; it may reject for models that differ on single tasks and are equal only overall.

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
        """Add a task whose signed differences sum to `sums`; squares do not depend on signs."""
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
    """`_DRAWS` sums of `sizes` with random signs."""
    if len(sizes) == 0:
        return np.zeros(_DRAWS)
    if np.all(sizes == sizes[0]):  # binary items: only the number of signs matters
        positive = rng.binomial(len(sizes), 0.5, _DRAWS)
        return np.asarray(sizes[0] * (2.0 * positive - len(sizes)))
    sums = np.empty(_DRAWS)
    step = max(1, _BLOCK // len(sizes))
    for start in range(0, _DRAWS, step):
        count = min(step, _DRAWS - start)
        signs = rng.integers(0, 2, (count, len(sizes)), dtype=np.int8)
        sums[start : start + count] = 2.0 * (signs @ sizes)
    return sums - sizes.sum()
