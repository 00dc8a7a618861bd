"""The stages of an evolution, told apart by a rule instead of by eye (the paper's section 4).

The rule: let the best score so far rise from its first value to its last. The learning stage lasts
through the generation in which `SHARE` of that whole rise is reached; the generations after it are
the saturation stage. There is no saturation stage unless it is at least `SHORTEST` generations
long: a search that is still climbing, or was stopped early, shows none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

SHARE = 0.9
SHORTEST = 2

RULE = (
    f"learning lasts until the best score so far has made {SHARE:.0%} of its whole rise; what "
    f"follows is saturation, if it is at least {SHORTEST} generations long"
)


@dataclass(frozen=True)
class Point:
    """One generation of an evolution: what the rule and its reader look at.

    Attributes:
        score: of the generation's model or best child, in points; None if there is none.
        kinship: of its parents, or of the pool; None where not known.
        gain: merge gain, or the mean of it over the generation; None where there is none.
    """

    generation: int
    score: float | None
    kinship: float | None = None
    gain: float | None = None


@dataclass(frozen=True)
class Stage:
    """A stretch of generations, with its means of kinship and of |gain| (None where unknown)."""

    first: int
    last: int
    rise: float
    kinship: float | None
    gain: float | None


@dataclass(frozen=True)
class Stages:
    """Learning and saturation; None for a stage that is not there. `why` says why, in words."""

    learning: Stage | None
    saturation: Stage | None
    why: str


def stages(points: Sequence[Point]) -> Stages:
    """Divide an evolution, its `points` in the order of generations, by the rule above."""
    known = [point for point in points if point.score is not None]
    if len(known) < 2:
        return Stages(None, None, "fewer than two generations have a score")
    best = list(accumulate((point.score or 0.0 for point in known), max))
    rise = best[-1] - best[0]
    if rise <= 0:
        return Stages(None, None, "the best score never rose")
    # Rounding must not push the end of learning one generation on.
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
