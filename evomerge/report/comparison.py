"""The page of a comparison of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evomerge.comparison.budgets import Unit, spent_at
from evomerge.comparison.compared import Comparison
from evomerge.domain.objective import MEANINGS
from evomerge.report.figure import Figure
from evomerge.report.page import render
from evomerge.terminal.baseline import grid_text
from evomerge.terminal.comparison import arms_table, budgets_table, lost_sentences, merges_table
from evomerge.terminal.differences import split_note, verdict_sentence
from evomerge.terminal.verdicts import verdict, verdict_sentences

if TYPE_CHECKING:
    from evomerge.domain.difference import Gains


def page(comparison: Comparison, winners: Gains) -> str:
    """The comparison as a self-contained HTML page."""
    return render("comparison.html", **content(comparison, winners))


def content(comparison: Comparison, winners: Gains) -> dict[str, Any]:
    """What `comparison.html` shows."""
    return {
        "title": " against ".join(arm.label for arm in comparison.arms),
        "runs": len(comparison.members),
        "tasks": _tasks(comparison),
        "arms": arms_table(comparison),
        "verdicts": [
            (verdict(versus, comparison).plain, [*verdict_sentences(versus, comparison)])
            for versus in comparison.versus
        ],
        "caveats": comparison.caveats,
        "meaning": MEANINGS[comparison.objective],
        "lost": lost_sentences(comparison),
        "baseline": comparison.baseline and grid_text(comparison.baseline),
        "winners": [verdict_sentence(each) for each in winners.comparisons],
        "missing": winners.missing,
        "note": split_note(winners.split) if winners.comparisons else "",
        "figures": curves(comparison),
        "budgets": budgets_table(comparison),
        "repeats": _repeats(comparison),
        "merges": merges_table(comparison.arms, rows_each=None),
    }


def curves(comparison: Comparison) -> list[Figure]:
    """Best score so far against evaluations, merges and hours of work, if all runs have them."""
    from evomerge.report.charts.comparison import best_by

    units: tuple[Unit, ...] = ("evaluations", "merges", "hours")
    return [
        best_by(comparison, unit, *_axis(comparison, unit))
        for unit in units
        if all(spent_at(m.course[-1], unit) is not None for m in comparison.members)
    ]


def _axis(comparison: Comparison, unit: Unit) -> tuple[str, float]:
    """The label of an axis and its scale factor; short runs are shown in seconds."""
    if unit != "hours":
        return unit, 1.0
    longest = max(spent_at(m.course[-1], unit) or 0.0 for m in comparison.members)
    name, scale = ("hours", 1.0) if longest >= 2 else ("minutes", 60.0)
    return (f"{name} of work", scale) if longest >= 0.05 else ("seconds of work", 3600.0)


def _repeats(comparison: Comparison) -> bool:
    return any(len(arm.members) > 1 for arm in comparison.arms)


def _tasks(comparison: Comparison) -> list[str]:
    scores = comparison.members[0].best.scores
    return [task.task for task in scores.tasks] if scores else []
