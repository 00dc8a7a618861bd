"""Comparison of runs: scores and costs of each arm, and where they diverge. Pure."""

from __future__ import annotations

from evomerge.comparison.arms import Arm, Spread, grouped
from evomerge.comparison.budgets import UNITS, Budget, Unit, equal_budgets
from evomerge.comparison.compared import Comparison, Versus, compare
from evomerge.comparison.exploration import Exploration, exploration_of
from evomerge.comparison.members import Member, Moment, member_of
from evomerge.comparison.parting import Parting, parting

__all__ = [
    "UNITS",
    "Arm",
    "Budget",
    "Comparison",
    "Exploration",
    "Member",
    "Moment",
    "Parting",
    "Spread",
    "Unit",
    "Versus",
    "compare",
    "equal_budgets",
    "exploration_of",
    "grouped",
    "member_of",
    "parting",
]
