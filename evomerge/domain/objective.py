"""The objective: how the task scores of a model are combined into one number.

Task scores v, in points, are scaled to x = offset + slope · v and then combined, with task weights
w and their sum W:

| objective | x | combined | unit |
| --- | --- | --- | --- |
| `mean` | v | Σ w x / W | points |
| `worst` | 100 − (w / highest w) · (100 − v) | the lowest x | points |
| `relative` | 100 · v / reference | Σ w x / W | percent of the reference |
| `geometric` | v | Π x ^ (w / W) | points |

`worst` is the score on the weakest task; with unequal weights, 100 minus the weighted Chebyshev
distance from 100 points on every task (Steuer and Choo 1983, *An interactive weighted Tchebycheff
procedure for multiple objective programming*, Mathematical Programming 26:326–344).

The reference of `relative` is the best score of a foundation model on the task, so that 100 means
as good as the best foundation model on every task. Tasks with a reference of 0 are left out; if no
other task remains, the value is 0.

`worst` and `geometric` are 0 if one task is, and then do not distinguish specialists and their
first children. Models of equal value are therefore ranked by the mean (`Worth`).

All objectives are monotonic in every task's score. With one task `mean`, `worst` and `geometric`
are its score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, NamedTuple

from evomerge.domain.scores import TaskScore

ObjectiveName = Literal["mean", "worst", "relative", "geometric"]

TITLES: Mapping[ObjectiveName, str] = {
    "mean": "mean",
    "worst": "weakest task",
    "relative": "share kept",
    "geometric": "geometric mean",
}
"""Headings of rows and columns of scores."""

MEANINGS: Mapping[ObjectiveName, str] = {
    "mean": "the mean over the tasks",
    "worst": "the score on the weakest task",
    "relative": "the mean share of the best foundation model's score on each task, in percent",
    "geometric": "the geometric mean over the tasks",
}
"""Descriptions of a score."""

_NORMAL = NormalDist()


class Estimate(NamedTuple):
    """A value with its standard error, None if unknown."""

    value: float
    stderr: float | None


class Worth(NamedTuple):
    """The sort key of rankings: score, then mean.

    Attributes:
        score: the value of the objective.
        mean: mean over the tasks in points, for `worst` and `geometric`; 0 for the others.
    """

    score: float
    mean: float = 0.0

    def exceeds(self, other: Worth, by: float) -> bool:
        """Whether the score, or for equal scores the mean, is higher by more than `by` points."""
        if self.score == other.score:
            return self.mean > other.mean + by
        return self.score > other.score + by


@dataclass(frozen=True)
class Objective:
    """An objective with its reference scores.

    Attributes:
        reference: for `relative`, the best score of a foundation model on each task, in points;
            None until all of them are scored.
    """

    name: ObjectiveName = "mean"
    reference: Mapping[str, float] | None = None

    @property
    def known(self) -> bool:
        """Whether values can be computed: `relative` needs its reference."""
        return self.name != "relative" or self.reference is not None

    @property
    def left_out(self) -> tuple[str, ...]:
        """The tasks that are ignored, since every foundation model has 0 points on them."""
        if self.name != "relative":
            return ()
        return tuple(task for task, best in (self.reference or {}).items() if best <= 0.0)

    def estimate(self, tasks: Sequence[TaskScore]) -> Estimate | None:
        """The value of task scores with its standard error; None without a needed reference."""
        combined = self.over([task.task for task in tasks], [task.weight for task in tasks])
        if combined is None:
            return None
        values = [task.value for task in tasks]
        return Estimate(
            combined.value(values), combined.stderr(values, [task.stderr for task in tasks])
        )

    def worth(self, tasks: Sequence[TaskScore]) -> Worth | None:
        """The sort key of a model with these task scores; None without a needed reference."""
        over = self.over([task.task for task in tasks], [task.weight for task in tasks])
        if over is None:
            return None
        values = [task.value for task in tasks]
        if over.name == "mean":
            return Worth(over.value(values))
        return Worth(over.value(values), replace(over, name="mean").value(values))

    def over(self, tasks: Sequence[str], weights: Sequence[float]) -> Combination | None:
        """The objective for fixed tasks and weights; None without a needed reference."""
        none, ones = (0.0,) * len(tasks), (1.0,) * len(tasks)
        if self.name == "worst":
            slopes = tuple(weight / max(weights) for weight in weights)
            offsets = tuple(100.0 * (1.0 - slope) for slope in slopes)
            return Combination("worst", tuple(weights), offsets, slopes)
        if self.name != "relative":
            return Combination(self.name, tuple(weights), none, ones)
        if self.reference is None:
            return None
        best = [self.reference.get(task, 0.0) for task in tasks]
        kept = tuple(w if top > 0.0 else 0.0 for w, top in zip(weights, best, strict=True))
        slopes = tuple(100.0 / top if top > 0.0 else 0.0 for top in best)
        return Combination("mean", kept, none, slopes)


@dataclass(frozen=True)
class Combination:
    """An objective for a fixed list of tasks.

    Attributes:
        name: how the x are combined; `relative` is a `mean` with other slopes.
        weights: of the tasks; 0 for ignored tasks.
        offsets, slopes: x = offset + slope · v.
    """

    name: Literal["mean", "worst", "geometric"]
    weights: tuple[float, ...]
    offsets: tuple[float, ...]
    slopes: tuple[float, ...]

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights normalised to a sum of 1; all 0 if every task is ignored."""
        total = math.fsum(self.weights)
        return tuple(weight / total if total else 0.0 for weight in self.weights)

    def value(self, values: Sequence[float]) -> float:
        """The value for task scores in points."""
        scaled = self._scaled(values)
        if self.name == "worst":
            return min(scaled)
        if self.name == "geometric":
            return math.prod(
                math.pow(max(0.0, x), s) for x, s in zip(scaled, self.shares, strict=True)
            )
        total = math.fsum(self.weights)
        terms = (weight * x for weight, x in zip(self.weights, scaled, strict=True))
        return math.fsum(terms) / total if total else 0.0

    def stderr(self, values: Sequence[float], errors: Sequence[float | None]) -> float | None:
        """The standard error of `value`, assuming independent tasks and known task errors.

        Exact for `mean`; by the delta method for `geometric`; for `worst` the standard deviation
        of the minimum of independent normal scores. References are treated as constants.

        Returns:
            None if a task's error is unknown, and for `geometric` if a task has 0 points, where
            it is not differentiable.
        """
        counted = [
            error if weight else 0.0 for error, weight in zip(errors, self.weights, strict=True)
        ]
        known = [error for error in counted if error is not None]
        if len(known) < len(counted):
            return None
        scaled = self._scaled(values)
        errors_of_x = [slope * error for slope, error in zip(self.slopes, known, strict=True)]
        if self.name == "worst":
            return _deviation_of_lowest(scaled, errors_of_x)
        if self.name == "geometric":
            if min(scaled) <= 0.0:
                return None
            rows = zip(self.shares, errors_of_x, scaled, strict=True)
            return self.value(values) * math.hypot(*(s * error / x for s, error, x in rows))
        total = math.fsum(self.weights)
        squares = ((w * e) ** 2 for w, e in zip(self.weights, errors_of_x, strict=True))
        return math.sqrt(math.fsum(squares)) / total if total else 0.0

    def _scaled(self, values: Sequence[float]) -> list[float]:
        rows = zip(self.offsets, self.slopes, values, strict=True)
        return [offset + slope * value for offset, slope, value in rows]


def _deviation_of_lowest(means: Sequence[float], errors: Sequence[float]) -> float:
    """The standard deviation of the minimum of independent normal variables.

    Uses the exact moments of the minimum of two, taken as normal, one variable at a time (Clark
    1961, *The greatest of a finite set of random variables*, Operations Research 9:145–162).
    """
    (mean, error), *others = sorted(zip(means, errors, strict=True))
    for other, its_error in others:
        spread = math.hypot(error, its_error)
        if spread == 0.0:
            continue  # both are exact, and the first is the lower one
        # Relative to `mean`, to avoid cancellation of large squares.
        distance = other - mean
        first = _NORMAL.cdf(distance / spread)
        density = spread * _NORMAL.pdf(distance / spread)
        shift = distance * (1.0 - first) - density
        square = error**2 * first + (distance**2 + its_error**2) * (1.0 - first)
        variance = square - distance * density - shift**2
        mean, error = mean + shift, math.sqrt(max(0.0, variance))
    return error
