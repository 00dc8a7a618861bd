"""What a paired comparison of two models on the same items says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evomerge.domain.objective import ObjectiveName
from evomerge.domain.scores import SPLIT_NAMES, Split
from evomerge.domain.value import Value

CERTAIN = 0.05
"""A difference whose corrected p is below this is not called noise."""

Test = Literal["mcnemar", "permutation", "bootstrap"]


class Difference(Value):
    """The score of one model minus that of another on the same items.

    Attributes:
        value: in points, over all tasks or of one.
        low: the lower end of the 95 % confidence interval, in points.
        high: its upper end.
        p: two-sided, of the hypothesis that the models do not differ.
        items: pairs that went into it.
        test: where `p` comes from.
    """

    value: float
    low: float
    high: float
    p: float = Field(ge=0, le=1)
    items: int = Field(ge=1)
    test: Test


class TaskDifference(Value):
    """The difference on one task; `a` and `b` are the models' scores on it in points."""

    task: str
    a: float
    b: float
    difference: Difference


class ModelComparison(Value):
    """Model `a` against model `b`.

    Attributes:
        relation: what `b` is to `a`; `model` where a user chose the pair.
        difference: by the objective over the tasks.
        corrected: `difference.p` after Holm's correction over the comparisons made together.
        tasks: the same per task, uncorrected; empty in the journal.
    """

    a: str
    b: str
    relation: Literal["foundation", "parent", "model"]
    difference: Difference
    corrected: float = Field(ge=0, le=1)
    tasks: tuple[TaskDifference, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether chance is no plausible reason for the difference."""
        return self.corrected < CERTAIN


class Gains(Value):
    """Every comparison of a run, made at once.

    Attributes:
        split: the items that were compared.
        objective: what was compared on them.
        missing: what could not be compared and why, a sentence each.
    """

    split: Split = Field(validation_alias=SPLIT_NAMES)
    comparisons: tuple[ModelComparison, ...]
    missing: tuple[str, ...] = ()
    objective: ObjectiveName = "mean"
