"""Races, in journals of versions that stopped scoring a child early; no run makes them now."""

from __future__ import annotations

from pydantic import Field

from evomerge.domain.value import Value


class Race(Value):
    """A race that a model lost: it was scored only until it was clear that it would not enter S.

    Attributes:
        id: of the model's sample logs in the place of the evaluation id, unless all items were
            scored by another run.
        reference: name of the model that it will not exceed: the last of the pool before.
        items: that the decision is made of.
        of: items in all.
        estimate: of the score on all items, in points: the reference's score plus the mean
            difference on the items scored.
        stderr: of the estimate, in points.
        low, high: a 95 % interval of it.
    """

    id: str
    reference: str
    items: int = Field(ge=1)
    of: int = Field(ge=1)
    estimate: float = Field(ge=0, le=100)
    stderr: float = Field(ge=0)
    low: float = Field(ge=0, le=100)
    high: float = Field(ge=0, le=100)
