"""Results of paired comparisons of two models on the same items."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evomerge.domain.objective import ObjectiveName
from evomerge.domain.scores import SPLIT_NAMES, Split
from evomerge.domain.value import Value

CERTAIN = 0.05
"""Significance level of the corrected p values."""

Test = Literal["mcnemar", "permutation", "bootstrap"]


class Difference(Value):
    """The score of one model minus that of another on the same items.

    Attributes:
        value: in points, on one task or by the objective over all.
        low: lower bound of the 95 % confidence interval, in points.
        high: its upper bound.
        p: two-sided p value of the null hypothesis of no difference.
        items: number of pairs of items.
        test: the test of `p`.
    """

    value: float
    low: float
    high: float
    p: float = Field(ge=0, le=1)
    items: int = Field(ge=1)
    test: Test


class TaskDifference(Value):
    """The difference on one task; `a` and `b` are the scores of the models in points."""

    task: str
    a: float
    b: float
    difference: Difference


class ModelComparison(Value):
    """Model `a` compared with model `b`.

    Attributes:
        relation: what `b` is to `a`; `model` for a pair that the user chose.
        difference: of the objective over all tasks.
        corrected: `difference.p` with Holm's correction over all comparisons of the `Gains`.
        tasks: differences per task, uncorrected; empty in journals.
    """

    a: str
    b: str
    relation: Literal["foundation", "parent", "model"]
    difference: Difference
    corrected: float = Field(ge=0, le=1)
    tasks: tuple[TaskDifference, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether the difference is significant."""
        return self.corrected < CERTAIN


class Gains(Value):
    """The comparisons of a run, corrected together.

    Attributes:
        split: the items that the models are compared on.
        objective: the compared objective.
        missing: comparisons that are not possible and why, one sentence each.
    """

    split: Split = Field(validation_alias=SPLIT_NAMES)
    comparisons: tuple[ModelComparison, ...]
    missing: tuple[str, ...] = ()
    objective: ObjectiveName = "mean"
