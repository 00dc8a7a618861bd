"""The best score of each arm at equal budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evomerge.comparison.arms import Arm, Spread
from evomerge.comparison.members import Member, ProgressPoint

Unit = Literal["evaluations", "merges", "hours"]
UNITS: tuple[Unit, ...] = ("evaluations", "merges", "hours")
_SHARES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Budget:
    """One budget that every run has used up.

    Attributes:
        amount: in `unit`; hours are hours of work, reused work counts with its original time.
        best: the best score of each arm within the budget, in the arms' order; None if an arm
            has no score by then.
    """

    unit: Unit
    amount: float
    best: tuple[Spread | None, ...]


def spent_at(point: ProgressPoint, unit: Unit) -> float | None:
    """The amount of `unit` spent at a point; None if unknown."""
    match unit:
        case "evaluations":
            return point.evaluations
        case "merges":
            return point.merges
        case "hours":
            return None if point.work is None else point.work / 3600


def best_within(member: Member, unit: Unit, amount: float) -> float | None:
    """The best score of a run within `amount`; None before its first score."""
    best = None
    for point in member.course:
        spent = spent_at(point, unit)
        if spent is None or spent > amount:
            break
        best = point.best.score
    return best


def equal_budgets(arms: Sequence[Arm]) -> tuple[Budget, ...]:
    """Quarters of the smallest total of all runs, in every unit that is known for all runs."""
    members = [member for arm in arms for member in arm.members]
    budgets: list[Budget] = []
    for unit in UNITS:
        totals = [spent_at(member.course[-1], unit) for member in members]
        known = [total for total in totals if total is not None]
        if len(known) < len(totals) or min(known) <= 0:
            continue
        least = min(known)
        amounts = dict.fromkeys(
            share * least if unit == "hours" else math.ceil(share * least) for share in _SHARES
        )
        budgets += [Budget(unit, amount, _reached(arms, unit, amount)) for amount in amounts]
    return tuple(budgets)


def _reached(arms: Sequence[Arm], unit: Unit, amount: float) -> tuple[Spread | None, ...]:
    return tuple(Spread.of(best_within(m, unit, amount) for m in arm.members) for arm in arms)
