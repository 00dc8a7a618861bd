"""Two models on the same items: their difference, how sure it is, and whether it may be chance.

| items are | interval | p |
| --- | --- | --- |
| right or wrong (0 or 1) | Tango's score interval | McNemar's exact test |
| anything else in [0, 1] | BCa bootstrap over items | sign-flip permutation |
| several tasks | MOVER over the tasks' intervals | sign-flip permutation within tasks |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evomerge.domain.difference import Difference, TaskDifference
from evomerge.domain.identity import derived_seed
from evomerge.significance.intervals import bootstrap_interval, combined
from evomerge.significance.mcnemar import exact_p, tango_interval
from evomerge.significance.permutation import flip_p

_POINTS = 100.0


@dataclass(frozen=True)
class Pairs:
    """One task's per-item results of two models.

    Attributes:
        weight: of the task in the score.
        a: of the first model, one an item, in [0, 1].
        b: of the second, on the same items in the same order.

    Raises:
        ValueError: there is no item, or the models have not the same number of them.
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
        """The first model's result minus the second's, one an item."""
        return self.a - self.b

    @property
    def binary(self) -> bool:
        """Whether every item is right or wrong for both models."""
        both = np.concatenate([self.a, self.b])
        return bool(np.all((both == 0.0) | (both == 1.0)))


def task_difference(pairs: Pairs, seed: int = 0) -> TaskDifference:
    """The difference a − b on one task.

    Swapping the models changes signs and nothing else; the same `seed` gives the same numbers.
    """
    return TaskDifference(
        task=pairs.task,
        a=_POINTS * float(pairs.a.mean()),
        b=_POINTS * float(pairs.b.mean()),
        difference=_difference(pairs, derived_seed("gain", seed, pairs.task)),
    )


def overall(tasks: Sequence[Pairs], seed: int = 0) -> Difference:
    """The difference a − b in the weighted mean over the tasks; of one task, that of the task.

    Raises:
        ValueError: there is no task.
    """
    if not tasks:
        raise ValueError("no task to compare on")
    each = [task_difference(pairs, seed).difference for pairs in tasks]
    if len(tasks) == 1:
        return each[0]
    total = sum(pairs.weight for pairs in tasks)
    shares = [pairs.weight / total for pairs in tasks]
    values = [one.value for one in each]
    low, high = combined(values, [(one.low, one.high) for one in each], shares)
    return Difference(
        value=float(np.dot(shares, values)),
        low=low,
        high=high,
        p=flip_p([pairs.differences for pairs in tasks], shares, derived_seed("gain", seed)),
        items=sum(len(pairs.a) for pairs in tasks),
        test="permutation",
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
