"""Limits of a run: how much it may do before it ends."""

from __future__ import annotations

from pydantic import Field

from evomerge.domain.value import Value


class CostLimit(Value):
    """A limit in money: GPU-hours times their price."""

    price_per_gpu_hour: float = Field(gt=0)
    limit: float = Field(gt=0)


class Limits(Value):
    """The limits of a run; None where there is none.

    Attributes:
        max_evaluations: as `RunState.evaluations`.
        max_hours: hours of work, without pauses.
        max_cost: of `RunState.gpu_seconds`.
    """

    max_evaluations: int | None = None
    max_hours: float | None = None
    max_cost: CostLimit | None = None
