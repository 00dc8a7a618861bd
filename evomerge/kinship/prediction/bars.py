"""How far predictions may be off, by method, dtype and size of the deltas.

A margin is in units of a correlation. It covers what a prediction leaves out. Without samples that
is the rounding of the child to its dtype: in bfloat16 noise of some 0.15 % of the weights, of which
the share in a delta of |delta| / |W| = r is (0.0015 / r)^2. It is not white (a small delta is
rounded away towards the dominant parent), so a margin is a multiple of the share and not its half.
With samples the rounding is replayed, and the jackknife tells what is left; where a merge rescales
by what it drew, the scale decides which way small deltas are rounded, and the margin tells that.

The multiples were set so that at least 95 of 100 true values lie within their bars over merges of
three generations with deltas of 0.5 to 6 % of the weights (`scripts/bench/predict.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evomerge.kinship.passes import Floats

# Root mean square of rounding, relative to the weights: half a step, uniform, mean over an octave.
# Where the dtype is not known, the coarsest that models come in.
_ROUNDING = {"float64": 0.0, "float32": 2.3e-8, "float16": 1.9e-4, "bfloat16": 1.5e-3}

_OF_ROUNDING = 1.2
_OF_RESCALING = 0.3
_OF_DOUBTFUL = 0.5
_OF_REFITTED = 0.25
_FLOOR = 5e-7
_FLOORS = {"slerp": 2e-5}
_SAMPLED_FLOOR = 5e-6
_OF_THRESHOLDS = 0.2
JACKKNIFE = 3.5
"""Standard errors in a bar: with nine degrees of freedom 99 of 100, for one pair alone."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A kinship that was predicted, or measured.

    Attributes:
        value: None where it is undefined, or where the bar would be too wide: measure instead.
        error: the bar: at least 95 of 100 true values lie within value ± error; None where there
            is no prediction at all.
        predicted: False where it was measured.
    """

    value: float | None
    error: float | None
    predicted: bool = True


def rounding(dtype: str, base: Floats, parts: Floats) -> Floats:
    """The squared norm of rounding in the child's delta, [tensors].

    Args:
        base: squared norm of the base's weights, [tensors].
        parts: those of the deltas of the child and of its parents, [1 + parents, tensors]. A
            tensor in which all of them are below the dtype's steps stays as it is.
    """
    noise = _ROUNDING.get(dtype, _ROUNDING["bfloat16"]) ** 2 * base
    least: Floats = np.minimum(noise, parts.max(axis=0))
    return least


def linear_margin(method: str, share: float) -> float:
    """Of a child predicted from the Gram matrix alone."""
    return _OF_ROUNDING * share + _FLOORS.get(method, _FLOOR)


def sampled_margin(
    *, linear: bool, random: bool, share: float, doubtful: float, size: int
) -> float:
    """Of a child replayed on a sample of `size` elements: what the jackknife does not see.

    `share` is that of rounding in the child's delta, `doubtful` the part of it in tensors of
    which it is not known how mergekit rounds.

    Thresholds (the entry that TIES still keeps, the sum that DARE rescales by) are taken from the
    whole sample, so that leaving out a group of it does not tell how far they are off.
    """
    if linear:
        return _SAMPLED_FLOOR + _OF_DOUBTFUL * doubtful
    rescaled = _OF_RESCALING * share if random else 0.0
    return _SAMPLED_FLOOR + _OF_THRESHOLDS / float(np.sqrt(size)) + rescaled


def refitted_margin(share: float, *, sampled: bool) -> float:
    """Of a child of which the products with its parents were measured."""
    return _SAMPLED_FLOOR if sampled else _OF_REFITTED * share + _SAMPLED_FLOOR


def spread(replicates: Floats) -> Floats:
    """The jackknife's bar of a statistic, from its values without one group at a time."""
    groups = len(replicates)
    deviations = replicates - replicates.mean(axis=0)
    variance = (groups - 1) / groups * np.sum(deviations**2, axis=0)
    bars: Floats = JACKKNIFE * np.sqrt(variance)
    return bars


def margin_bars(metric: str, margins: Floats, squares: Floats, values: Floats) -> Floats:
    """The margins of all pairs in units of the metric: [models, models].

    Args:
        margins: of each model, in units of a correlation; 0 for measured models.
        squares: squared norms of the deltas.
        values: the predicted metric.
    """
    both = margins[:, None] + margins[None, :]
    if metric != "euclidean":
        return both
    norms = np.sqrt(squares)
    own = margins * squares
    # d^2 = |a|^2 + |b|^2 - 2 <a, b>: every product is off by its margin, relative to the norms.
    off = 2 * (own[:, None] + own[None, :]) + 2 * both * norms[:, None] * norms[None, :]
    bars: Floats = np.sqrt(values**2 + off) - values
    return bars
