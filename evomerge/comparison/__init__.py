"""Comparison of runs: scores and costs of each arm, and where they diverge. Pure."""

from __future__ import annotations

from evomerge.comparison.arms import Arm, Spread, grouped
from evomerge.comparison.budgets import UNITS, Budget, Unit, equal_budgets
from evomerge.comparison.compared import Comparison, Versus, compare
from evomerge.comparison.divergence import Divergence, divergence
from evomerge.comparison.exploration import Exploration, exploration_of
from evomerge.comparison.members import Member, ProgressPoint, member_of

__all__ = [
    "UNITS",
    "Arm",
    "Budget",
    "Comparison",
    "Divergence",
    "Exploration",
    "Member",
    "ProgressPoint",
    "Spread",
    "Unit",
    "Versus",
    "compare",
    "divergence",
    "equal_budgets",
    "exploration_of",
    "grouped",
    "member_of",
]
