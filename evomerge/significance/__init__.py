"""Is a difference real? Paired statistics over the per-item results of two models.

Pure: numpy and scipy, no file, no model. All of it is paired: both models answered the same items,
so that an item's difficulty cancels out (Miller 2024, *Adding Error Bars to Evals*,
arXiv 2411.00640, section 4.2). Items are taken as drawn independently from what a task measures.
"""

from __future__ import annotations

from evomerge.significance.holm import holm
from evomerge.significance.paired import Pairs, overall, task_difference

__all__ = ["Pairs", "holm", "overall", "task_difference"]
