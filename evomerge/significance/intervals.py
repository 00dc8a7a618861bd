"""95 % confidence intervals of a mean difference, and of a weighted sum of differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
Z = 1.959963984540054
"""Normal quantile of the two-sided `LEVEL`."""
_RESAMPLES = 9_999


def bootstrap_interval(differences: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The BCa bootstrap interval of the mean of `differences`, shape (items,).

    Items are resampled with both models' results together; bias-corrected and accelerated (Efron
    1987, *Better bootstrap confidence intervals*, JASA 82:171–185), by scipy. If all differences
    are equal, the interval has zero width.
    """
    from scipy.stats import bootstrap

    if len(differences) < 2 or np.ptp(differences) == 0.0:
        mean = float(differences.mean())
        return mean, mean
    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, 4_000_000 // len(differences)),
        confidence_level=LEVEL,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def combined(
    estimates: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    shares: Sequence[float],
) -> tuple[float, float]:
    """The confidence interval of Σ share · estimate over independent estimates.

    Each side's distance is the root of the summed squares of the weighted distances on that side,
    without assuming normality; skew is preserved (MOVER: Zou & Donner 2008,
    *Construction of confidence limits about effect measures*, Statistics in Medicine
    27:1693–1702).

    Args:
        shares: positive; they sum to 1 for a weighted mean.
    """
    centre = math.fsum(s * e for s, e in zip(shares, estimates, strict=True))
    rows = list(zip(shares, estimates, intervals, strict=True))
    below = math.sqrt(math.fsum((s * (e - low)) ** 2 for s, e, (low, _) in rows))
    above = math.sqrt(math.fsum((s * (high - e)) ** 2 for s, e, (_, high) in rows))
    return centre - below, centre + above
