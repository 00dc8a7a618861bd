"""Correlations of kinship and merge gain, with confidence intervals.

Pearson's r and Spearman's rho with two-sided p values are scipy's; the interval of r is a seeded
percentile bootstrap (Efron 1979) over pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Correlation:
    """The correlation of two quantities over `n` pairs.

    Attributes:
        r: Pearson's correlation with its two-sided p value; None for fewer than three pairs, or
            if one of the quantities is constant. `rho` is Spearman's.
        low: `low` and `high` are the bootstrap interval of r (`CONFIDENCE`).
    """

    n: int
    r: float | None = None
    p: float | None = None
    rho: float | None = None
    rho_p: float | None = None
    low: float | None = None
    high: float | None = None


def correlate(x: Sequence[float], y: Sequence[float], *, seed: int = 0) -> Correlation:
    """The correlation of two sequences of equal length.

    Raises:
        ValueError: the lengths differ.
    """
    n = len(x)
    if len(y) != n:
        raise ValueError(f"sequences of different lengths: {n} and {len(y)}")
    if n < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return Correlation(n)
    return _correlated(tuple(x), tuple(y), seed)


@lru_cache(maxsize=16)  # a page shows the same ones in a table and above a figure
def _correlated(x: tuple[float, ...], y: tuple[float, ...], seed: int) -> Correlation:
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's warnings about nearly constant input
        pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
    low, high = _bootstrap(x, y, seed)
    return Correlation(
        len(x),
        float(pearson.statistic),
        float(pearson.pvalue),
        float(spearman.statistic),
        float(spearman.pvalue),
        low,
        high,
    )


def _bootstrap(
    x: Sequence[float], y: Sequence[float], seed: int
) -> tuple[float | None, float | None]:
    """The interval of Pearson's r; resamples with a constant quantity are left out."""
    import numpy as np

    n = len(x)
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    generator = np.random.default_rng(seed)
    found: list[Any] = []
    rows = max(1, 2_000_000 // n)  # limits the memory of a block
    for start in range(0, RESAMPLES, rows):
        chosen = generator.integers(0, n, size=(min(rows, RESAMPLES - start), n))
        a, b = xs[chosen], ys[chosen]
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        varied = norm > 1e-12 * np.sqrt((xs * xs).sum() * (ys * ys).sum())
        found.append(((a * b).sum(axis=1)[varied]) / norm[varied])
    values = np.concatenate(found)
    if values.size == 0:
        return None, None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
