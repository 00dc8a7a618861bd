"""Values with 95 % intervals."""

from __future__ import annotations

import math

Z95 = 1.959964
"""Half the width of a 95 % interval, in standard errors of a normal estimate."""


def half_width(stderr: float | None) -> float | None:
    """Half the width of the 95 % interval of an estimate with this standard error."""
    return None if stderr is None else Z95 * stderr


def of_difference(a: float | None, b: float | None) -> float | None:
    """Half the width of a difference's interval from those of two independent estimates."""
    return None if a is None or b is None else math.hypot(a, b)
