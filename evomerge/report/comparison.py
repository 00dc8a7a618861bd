"""The page of a comparison of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evomerge.comparison.budgets import Unit, spent_at
from evomerge.comparison.compared import Comparison
from evomerge.comparison.members import Member
from evomerge.domain.objective import MEANINGS
from evomerge.report import palette
from evomerge.report.figure import Figure, axes_grid, draw
from evomerge.report.page import render
from evomerge.terminal.baseline import grid_text
from evomerge.terminal.comparison import arms_table, budgets_table, lost_sentences, merges_table
from evomerge.terminal.differences import split_note, verdict_sentence
from evomerge.terminal.verdicts import verdict, verdict_sentences

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from evomerge.domain.difference import Gains

_DASHES = ("solid", "dashed", "dotted", "dashdot")


def page(comparison: Comparison, winners: Gains) -> str:
    """The comparison as a self-contained HTML page."""
    return render(
        "comparison.html",
        title=" against ".join(arm.label for arm in comparison.arms),
        runs=len(comparison.members),
        tasks=_tasks(comparison),
        arms=arms_table(comparison),
        verdicts=[
            (verdict(versus, comparison).plain, [*verdict_sentences(versus, comparison)])
            for versus in comparison.versus
        ],
        caveats=comparison.caveats,
        meaning=MEANINGS[comparison.objective],
        lost=lost_sentences(comparison),
        baseline=comparison.baseline and grid_text(comparison.baseline),
        winners=[verdict_sentence(each) for each in winners.comparisons],
        missing=winners.missing,
        note=split_note(winners.split) if winners.comparisons else "",
        drawings=[draw(figure, png=False) for figure in curves(comparison)],
        budgets=budgets_table(comparison),
        repeats=_repeats(comparison),
        merges=merges_table(comparison.arms, rows_each=None),
    )


def curves(comparison: Comparison) -> list[Figure]:
    """Best score so far against evaluations, merges and hours of work, if all runs have them."""
    units: tuple[Unit, ...] = ("evaluations", "merges", "hours")
    return [
        _curve(comparison, unit)
        for unit in units
        if all(spent_at(m.course[-1], unit) is not None for m in comparison.members)
    ]


def _curve(comparison: Comparison, unit: Unit) -> Figure:
    named, scale = _axis(comparison, unit)
    lines = [
        (place, arm, member, _points(member, unit, scale))
        for place, arm in enumerate(comparison.arms)
        for member in arm.members
    ]

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes_grid(axes, "both")
        end = max(points[-1][0] for *_, points in lines)
        for place, arm, member, points in lines:
            first = member is arm.members[0]
            axes.step(
                [*(x for x, _ in points), end],
                [*(y for _, y in points), points[-1][1]],
                where="post",
                color=palette.SERIES[place % len(palette.SERIES)],
                linestyle=_DASHES[place % len(_DASHES)],
                # Arms often coincide, so the line below must be visible on both sides.
                linewidth=(1.8 + 1.4 * (len(comparison.arms) - 1 - place))
                * (1.0 if member is arm.median else 0.5),
                alpha=1.0 if member is arm.median else 0.55,
                label=arm.label if first else None,
            )
            axes.plot(
                [points[-1][0]],
                [points[-1][1]],
                marker="o",
                markersize=9,
                markeredgecolor=palette.PAPER,
                color=palette.SERIES[place % len(palette.SERIES)],
                zorder=5,
            )
        axes.set_xlabel(named)
        axes.set_ylabel("best score so far")
        axes.legend(loc="lower right")

    return Figure(
        name=f"best-by-{unit}",
        title=f"Best score so far against {'work' if unit == 'hours' else unit}",
        caption="A dot marks the end of a run; its line continues horizontally. "
        + ("The thick line is an arm's median run. " if _repeats(comparison) else "")
        + ("Reused work counts with the time it took originally."
           if unit == "hours" else ""),
        alt="; ".join(f"{m.name} reaches {m.score:.2f}" for _, _, m, _ in lines),
        columns=("run", named.partition(" ")[0], "best_score"),
        rows=[(member.name, x, y) for _, _, member, points in lines for x, y in points],
        size=(11.5, 3.8),
        paint=paint,
    )  # fmt: skip


def _points(member: Member, unit: Unit, scale: float) -> list[tuple[float, float]]:
    """(cost, best score) after every event that changed them."""
    return [(scale * (spent_at(m, unit) or 0.0), m.best.score or 0.0) for m in member.course]


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
