"""The difference of two models on the same items, with its 95 % interval and p value.

| items are | interval | p |
| --- | --- | --- |
| binary (0 or 1) | Tango's score interval | McNemar's exact test |
| other values in [0, 1] | BCa bootstrap over items | sign-flip permutation |
| several tasks, `mean` or `relative` | MOVER over tasks | sign-flip permutation within tasks |
| several tasks, `worst` or `geometric` | bootstrap within tasks | the larger one of two |

The last two p values are those of swaps within tasks, valid for models that are equal on every
task, and of the bootstrap, valid for models that are equal only overall. The reference of
`relative` is treated as a constant that scales each task's difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evomerge.domain.difference import Difference, TaskDifference
from evomerge.domain.identity import derived_seed
from evomerge.domain.objective import Combination, Objective
from evomerge.significance.combination import difference
from evomerge.significance.intervals import bootstrap_interval, combined
from evomerge.significance.mcnemar import exact_p, tango_interval
from evomerge.significance.permutation import flip_p, swap_p
from evomerge.significance.resampling import bootstrap

_POINTS = 100.0


@dataclass(frozen=True)
class Pairs:
    """Per-item results of two models on one task.

    Attributes:
        weight: weight of the task in the score.
        a: results of the first model in [0, 1], shape (items,).
        b: results of the second model, on the same items in the same order.

    Raises:
        ValueError: there are no items, or the numbers of items differ.
    """

    task: str
    weight: float
    a: NDArray[np.float64]
    b: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.a.shape != self.b.shape or self.a.ndim != 1 or not len(self.a):
            raise ValueError(f"task {self.task!r}: {self.a.shape} items against {self.b.shape}")

    @property
    def differences(self) -> NDArray[np.float64]:
        """Results of the first model minus those of the second, shape (items,)."""
        return self.a - self.b

    @property
    def binary(self) -> bool:
        """Whether all results are 0 or 1."""
        both = np.concatenate([self.a, self.b])
        return bool(np.all((both == 0.0) | (both == 1.0)))


def task_difference(pairs: Pairs, seed: int = 0) -> TaskDifference:
    """The difference a − b on one task.

    Swapping the models only changes signs; the same `seed` gives the same numbers.
    """
    return TaskDifference(
        task=pairs.task,
        a=_POINTS * float(pairs.a.mean()),
        b=_POINTS * float(pairs.b.mean()),
        difference=_difference(pairs, derived_seed("gain", seed, pairs.task)),
    )


def overall(
    tasks: Sequence[Pairs], objective: Objective | None = None, seed: int = 0
) -> Difference:
    """The difference a − b by an objective, by default the mean.

    Raises:
        ValueError: there are no tasks, or the objective's reference is unknown.
    """
    over = (objective or Objective()).over(
        [pairs.task for pairs in tasks], [pairs.weight for pairs in tasks]
    )
    if not tasks or over is None:
        raise ValueError("no task to compare on" if over else "no reference to compare with")
    if over.name != "mean" and len(tasks) > 1:
        return _resampled(tasks, over, derived_seed("gain", seed))
    each = [task_difference(pairs, seed).difference for pairs in tasks]
    factors = [share * slope for share, slope in zip(over.shares, over.slopes, strict=True)]
    if len(tasks) == 1 and factors[0]:
        ends = {end: factors[0] * getattr(each[0], end) for end in ("value", "low", "high")}
        return each[0].model_copy(update=ends)
    values = [one.value for one in each]
    low, high = combined(values, [(one.low, one.high) for one in each], factors)
    return Difference(
        value=float(np.dot(factors, values)),
        low=low,
        high=high,
        p=flip_p([pairs.differences for pairs in tasks], factors, derived_seed("gain", seed)),
        items=sum(len(pairs.a) for pairs in tasks),
        test="permutation",
    )


def _resampled(tasks: Sequence[Pairs], over: Combination, seed: int) -> Difference:
    a, b = [pairs.a for pairs in tasks], [pairs.b for pairs in tasks]
    means = np.array([[pairs.a.mean(), pairs.b.mean()] for pairs in tasks])
    value = float(difference(over, means))
    # Resampled in a fixed direction, so that swapping the models only changes signs.
    turned = (value, *map(bytes, a)) < (0.0, *map(bytes, b))
    drawn = bootstrap(b, a, over, seed) if turned else bootstrap(a, b, over, seed)
    low, high = (-drawn.high, -drawn.low) if turned else (drawn.low, drawn.high)
    swapped = swap_p(a, b, over, seed)
    return Difference(
        value=value,
        low=low,
        high=high,
        p=max(swapped, drawn.p),
        items=sum(len(pairs.a) for pairs in tasks),
        test="permutation" if swapped >= drawn.p else "bootstrap",
    )


def _difference(pairs: Pairs, seed: int) -> Difference:
    differences = pairs.differences
    value = float(differences.mean())
    if pairs.binary:
        only_a, only_b = int((differences > 0).sum()), int((differences < 0).sum())
        p, interval = exact_p(only_a, only_b), tango_interval(only_a, only_b, len(differences))
    else:
        p = flip_p([differences], [1.0], seed)
        interval = bootstrap_interval(differences, seed)
    return Difference(
        value=_POINTS * value,
        low=_POINTS * interval[0],
        high=_POINTS * interval[1],
        p=p,
        items=len(differences),
        test="mcnemar" if pairs.binary else "permutation",
    )
