"""What a run has used of its budget."""

from __future__ import annotations

from collections.abc import Iterator

from evomerge.domain.state import RunState
from evomerge.terminal import figures


def budget_text(state: RunState) -> str:
    """`18 of 20 evaluations, 1.2 of 3 h, 4.10 of 20 spent (2 GPUs, 2.5 an hour)`; "" without one.

    The limits of evaluations, hours and cost, and how much of each the run has used.
    """
    return ", ".join(_used(state))


def _used(state: RunState) -> Iterator[str]:
    budget = state.budget
    if budget.max_evaluations is not None:
        yield f"{state.evaluations} of {figures.count(budget.max_evaluations, 'evaluation')}"
    if budget.max_hours is not None:
        limit = figures.duration(budget.max_hours * 3600)
        yield f"{figures.duration(state.seconds)} of {limit}"
    if (cost := budget.max_cost) is not None:
        price = cost.price_per_gpu_hour
        gpus = figures.count(state.gpus, "GPU")
        spent, limit = (figures.money(each) for each in (state.cost(price), cost.limit))
        yield f"{spent} of {limit} spent ({gpus}, {price:g} an hour)"
