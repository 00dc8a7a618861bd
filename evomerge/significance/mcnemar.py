"""Right or wrong on each item: McNemar's exact test and Tango's interval."""

from __future__ import annotations

import math

from evomerge.significance.intervals import Z

_NEAR = 1e-9


def exact_p(only_a: int, only_b: int) -> float:
    """The two-sided p of McNemar's exact test.

    Under the hypothesis of equal models each item that only one of them got right is as likely to
    be a's as b's: a binomial with one half (McNemar 1947, Psychometrika 12:153–157). It errs on
    the safe side: p values are never too small.

    Args:
        only_a: items that a got right and b did not.
        only_b: the other way round.
    """
    from scipy.special import bdtr

    discordant = only_a + only_b
    if discordant == 0:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), discordant, 0.5)))


def tango_interval(only_a: int, only_b: int, items: int) -> tuple[float, float]:
    """The 95 % interval of share(a) − share(b), by inverting the score test.

    Unlike a bootstrap it stays honest where few items, or none, tell the models apart (Tango 1998,
    *Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design*, Statistics in Medicine 17:891–908).
    """
    from scipy.optimize import brentq

    def variance(delta: float) -> float:
        """Of only_a − only_b under the hypothesis that the difference is `delta`."""
        b = -only_a - only_b + (2 * items - only_a + only_b) * delta
        c = -only_b * delta * (1.0 - delta)
        q = (math.sqrt(max(0.0, b * b - 8.0 * items * c)) - b) / (4.0 * items)
        return max(0.0, items * (2.0 * q + delta * (1.0 - delta)))

    def above(delta: float) -> float:
        return only_a - only_b - items * delta - Z * math.sqrt(variance(delta))

    def below(delta: float) -> float:
        return only_a - only_b - items * delta + Z * math.sqrt(variance(delta))

    estimate = (only_a - only_b) / items
    # at the estimate itself the variance may be zero, which would pass for a root
    low = -1.0 if only_b == items else float(brentq(above, -1.0, estimate - _NEAR))
    high = 1.0 if only_a == items else float(brentq(below, estimate + _NEAR, 1.0))
    return low, high
