"""How much of its budget a run has used, and when the rest will be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evomerge.domain.state import RunState


@dataclass(frozen=True)
class BudgetUse:
    """The use of the limit that ends a run first at its pace so far.

    Attributes:
        share: of the limit, 0 to 1.
        left: seconds until it is reached; None while the pace is unknown.
    """

    share: float
    left: float | None


def budget_use(state: RunState, elapsed: float | None = None) -> BudgetUse | None:
    """The use of a run's budget; None without a limit of evaluations, hours or cost.

    Evaluations that were reused say nothing about the pace.

    Args:
        elapsed: seconds spent on the run; default: up to its last event.
    """
    limits = [*_limits(state, state.seconds if elapsed is None else elapsed)]
    known = [each for each in limits if each.left is not None]
    return min(known or limits, key=lambda each: (each.left or 0.0, -each.share), default=None)


def _limits(state: RunState, elapsed: float) -> Iterator[BudgetUse]:
    budget, measured = state.budget, state.evaluations - state.reused_evaluations
    if budget.max_evaluations:
        pace = elapsed / measured if measured > 0 and elapsed > 0 else None
        yield _use(state.evaluations, budget.max_evaluations, pace)
    if budget.max_hours:
        yield _use(elapsed, 3600 * budget.max_hours, 1.0)
    if budget.max_cost is not None and state.seconds > 0:
        spent = state.cost(budget.max_cost.price_per_gpu_hour)
        yield _use(spent, budget.max_cost.limit, state.seconds / spent if spent else None)


def _use(used: float, limit: float, seconds_each: float | None) -> BudgetUse:
    left = None if seconds_each is None else max(0.0, limit - used) * seconds_each
    return BudgetUse(min(1.0, used / limit), left)
