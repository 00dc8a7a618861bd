"""Races (early stopping of evaluations) in journals of earlier versions."""

from __future__ import annotations

from pydantic import Field

from evomerge.domain.value import Value


class Race(Value):
    """A lost race: scoring was stopped when it was clear that the model would not enter S.

    Attributes:
        id: used for the model's sample logs instead of the evaluation id, unless another run scored
            all items.
        reference: name of the model that it was compared with, the last of the previous pool.
        items: number of items that were scored for the decision.
        of: number of all items.
        estimate: estimated score on all items, in points: the reference's score plus the mean
            difference on the scored items.
        stderr: standard error of the estimate, in points.
        low, high: its 95 % confidence interval.
    """

    id: str
    reference: str
    items: int = Field(ge=1)
    of: int = Field(ge=1)
    estimate: float = Field(ge=0, le=100)
    stderr: float = Field(ge=0)
    low: float = Field(ge=0, le=100)
    high: float = Field(ge=0, le=100)
