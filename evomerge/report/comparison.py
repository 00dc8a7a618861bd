"""The page of a comparison of runs."""

from __future__ import annotations

from typing import Any

from evomerge.comparison.budgets import UNITS
from evomerge.comparison.compared import Comparison
from evomerge.domain.difference import Gains
from evomerge.domain.objective import MEANINGS
from evomerge.report.figure import Figure
from evomerge.report.page import render
from evomerge.terminal.baseline import grid_text
from evomerge.terminal.comparison import budgets_table, hours_text, merges_table, score_text
from evomerge.terminal.differences import split_note, verdict_sentence
from evomerge.terminal.verdicts import verdict, verdict_sentences
from evomerge.views.comparison import ArmRow, arms_of, course_of


def page(comparison: Comparison, winners: Gains) -> str:
    """The comparison as a self-contained HTML page."""
    return render("comparison.html", **content(comparison, winners))


def content(comparison: Comparison, winners: Gains) -> dict[str, Any]:
    """What `comparison.html` shows."""
    arms = arms_of(comparison)
    return {
        "title": " against ".join(arm.label for arm in arms[:3]) + (" …" if len(arms) > 3 else ""),
        "runs": len(comparison.members),
        "tasks": [each.task for each in arms[0].tasks],
        "arms": arms,
        "best": max(arms, key=lambda arm: (arm.held_out or arm.score).median),
        "figures": figures_of(comparison, arms),
        "verdicts": [
            (verdict(versus, comparison).plain, [*verdict_sentences(versus, comparison)])
            for versus in comparison.versus
        ],
        "caveats": comparison.caveats,
        "meaning": MEANINGS[comparison.objective],
        "baseline": comparison.baseline and grid_text(comparison.baseline),
        "winners": [verdict_sentence(each) for each in winners.comparisons],
        "missing": winners.missing,
        "note": split_note(winners.split) if winners.comparisons else "",
        "budgets": budgets_table(comparison),
        "repeats": any(len(arm.runs) > 1 for arm in arms),
        "merges": merges_table(comparison.arms, rows_each=None),
        "score_text": score_text,
        "hours_text": hours_text,
    }


def figures_of(comparison: Comparison, arms: tuple[ArmRow, ...]) -> list[Figure]:
    """Best models, arms by task, and the best so far against evaluations, merges and work."""
    from evomerge.report.charts.comparison import arms_by_task, best_by, best_models

    course = course_of(comparison)
    kept_at = comparison.arms[0].median.state.skill_kept_at
    figures = [best_models(arms), arms_by_task(arms, kept_at)]
    figures += [best_by(course, unit) for unit in UNITS]
    return [figure for figure in figures if figure is not None]
