"""The stages of a search (section 4 of the paper), determined by a rule.

The total rise is the last value of the best score so far minus its first. The learning stage ends
with the generation in which `SHARE` of the total rise is reached; later generations are the
saturation stage. It must be at least `SHORTEST` generations long: a search that is still
improving, or was stopped early, has no saturation stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

SHARE = 0.9
SHORTEST = 2

RULE = (
    f"learning ends when the best score so far reaches {SHARE:.0%} of its total rise; the rest is "
    f"saturation, if it is at least {SHORTEST} generations long"
)


@dataclass(frozen=True)
class Point:
    """One generation of a search, as input of the stage rule.

    Attributes:
        score: of the generation's best child, in points; None if no child was scored.
        kinship: of its parents, or of the pool; None if unknown.
        gain: merge gain, or its mean over the generation; None if unknown.
    """

    generation: int
    score: float | None
    kinship: float | None = None
    gain: float | None = None


@dataclass(frozen=True)
class Stage:
    """A range of generations, with its mean kinship and mean |gain| (None if unknown)."""

    first: int
    last: int
    rise: float
    kinship: float | None
    gain: float | None


@dataclass(frozen=True)
class Stages:
    """The learning and saturation stages, None if absent; `why` is the reason as text."""

    learning: Stage | None
    saturation: Stage | None
    why: str


def stages(points: Sequence[Point]) -> Stages:
    """Apply the rule of this module to `points`, which are in the order of generations."""
    known = [point for point in points if point.score is not None]
    if len(known) < 2:
        return Stages(None, None, "fewer than two generations have a score")
    best = list(accumulate((point.score or 0.0 for point in known), max))
    rise = best[-1] - best[0]
    if rise <= 0:
        return Stages(None, None, "the best score never rose")
    # Tolerance: rounding must not move the end of learning by one generation.
    reached = best[0] + SHARE * rise - 1e-9
    turn = next(index for index, score in enumerate(best) if score >= reached)
    rest = len(known) - 1 - turn
    if rest < SHORTEST:
        learning = _stage(known, best, 0, len(known) - 1)
        why = f"no saturation: {SHARE:.0%} of the rise came only {rest} generations before the end"
        return Stages(learning, None, why)
    return Stages(
        _stage(known, best, 0, turn),
        _stage(known, best, turn + 1, len(known) - 1),
        f"{SHARE:.0%} of the rise of {rise:.2f} points was reached in generation "
        f"{known[turn].generation}",
    )


def _stage(points: Sequence[Point], best: Sequence[float], first: int, last: int) -> Stage:
    part = points[first : last + 1]
    return Stage(
        first=part[0].generation,
        last=part[-1].generation,
        rise=best[last] - best[max(0, first - 1)],
        kinship=_mean([p.kinship for p in part]),
        gain=_mean([None if p.gain is None else abs(p.gain) for p in part]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
