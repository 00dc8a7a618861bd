"""What a run has used of its budget."""

from __future__ import annotations

from collections.abc import Iterator

from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.views.run import Work, work_of


def budget_text(state: RunState) -> str:
    """`18 of 20 evaluations, 1.2 of 3 h, 4.10 of 20.00 spent (2 GPUs, 2.5 an hour)`.

    The limits of evaluations, hours and cost, and how much of each is used; "" without a limit.
    """
    return used_text(work_of(state))


def used_text(work: Work) -> str:
    """The same of what a run has done."""
    return ", ".join(_used(work))


def _used(work: Work) -> Iterator[str]:
    limits = work.limits
    if limits.max_evaluations is not None:
        yield f"{work.evaluations} of {figures.count(limits.max_evaluations, 'evaluation')}"
    if limits.max_hours is not None:
        limit = figures.duration(limits.max_hours * 3600)
        yield f"{figures.duration(work.hours * 3600)} of {limit}"
    if (most := limits.max_cost) is not None:
        spent, limit = (figures.money(each) for each in (work.cost or 0.0, most.limit))
        rate = f"{figures.count(work.gpus, 'GPU')}, {most.price_per_gpu_hour:g} an hour"
        yield f"{spent} of {limit} spent ({rate})"
