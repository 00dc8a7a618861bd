"""Paired binary results: McNemar's exact test and Tango's interval."""

from __future__ import annotations

import math

from evomerge.significance.intervals import Z

_NEAR = 1e-9


def exact_p(only_a: int, only_b: int) -> float:
    """The two-sided p value of McNemar's exact test.

    If the models are equal, each item that only one of them answers correctly is a's or b's with
    probability 1/2: a binomial test (McNemar 1947, Psychometrika 12:153–157). It is conservative:
    p values are never too small.

    Args:
        only_a: number of items that only a answered correctly.
        only_b: number of items that only b answered correctly.
    """
    from scipy.special import bdtr

    discordant = only_a + only_b
    if discordant == 0:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), discordant, 0.5)))


def tango_interval(only_a: int, only_b: int, items: int) -> tuple[float, float]:
    """The 95 % interval of accuracy(a) − accuracy(b), by inverting the score test.

    Unlike a bootstrap it keeps its coverage with few or no discordant items (Tango 1998,
    *Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design*, Statistics in Medicine 17:891–908).
    """
    from scipy.optimize import brentq

    def variance(delta: float) -> float:
        """Variance of only_a − only_b under the hypothesis that the difference is `delta`."""
        b = -only_a - only_b + (2 * items - only_a + only_b) * delta
        c = -only_b * delta * (1.0 - delta)
        q = (math.sqrt(max(0.0, b * b - 8.0 * items * c)) - b) / (4.0 * items)
        return max(0.0, items * (2.0 * q + delta * (1.0 - delta)))

    def above(delta: float) -> float:
        return only_a - only_b - items * delta - Z * math.sqrt(variance(delta))

    def below(delta: float) -> float:
        return only_a - only_b - items * delta + Z * math.sqrt(variance(delta))

    estimate = (only_a - only_b) / items
    # the variance may be zero at the estimate itself, which would look like a root
    low = -1.0 if only_b == items else float(brentq(above, -1.0, estimate - _NEAR))
    high = 1.0 if only_a == items else float(brentq(below, estimate + _NEAR, 1.0))
    return low, high
