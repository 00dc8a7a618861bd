"""The page of a comparison of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evomerge.comparison import Arm, Comparison, Member, Unit, exploration_of
from evomerge.comparison.budgets import spent_at
from evomerge.domain.lineage import ancestors, merge_gain
from evomerge.domain.model import Model
from evomerge.domain.objective import MEANINGS
from evomerge.domain.state import RunState
from evomerge.report import palette
from evomerge.report.figure import Figure, Tips, axes_grid, draw
from evomerge.report.page import render
from evomerge.terminal import figures
from evomerge.terminal.baseline import grid_text
from evomerge.terminal.comparison import (
    amount,
    held_out_text,
    lost_sentences,
    skills_text,
    spread_points,
)
from evomerge.terminal.differences import split_note, verdict_sentence
from evomerge.terminal.tables import parents_kinship
from evomerge.terminal.verdicts import (
    divergence_sentences,
    exploration_sentence,
    verdict,
)

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
        tasks=[task.task for task in _tasks(comparison)],
        arms=[_arm_row(arm, comparison) for arm in comparison.arms],
        held_out=any(arm.held_out for arm in comparison.arms),
        verdicts=[_verdict(versus, comparison) for versus in comparison.versus],
        caveats=comparison.caveats,
        meaning=MEANINGS[comparison.objective],
        lost=lost_sentences(comparison),
        baseline=comparison.baseline and grid_text(comparison.baseline),
        winners=[verdict_sentence(each) for each in winners.comparisons],
        missing=winners.missing,
        note=split_note(winners.split) if winners.comparisons else "",
        drawings=[draw(figure, png=False) for figure in curves(comparison)],
        budgets=[
            (amount(b.unit, b.amount), [(spread_points(s), _leads(b.best, s)) for s in b.best])
            for b in comparison.budgets
        ],
        labels=[arm.label for arm in comparison.arms],
        generations=_generations(comparison.arms),
    )


def curves(comparison: Comparison) -> list[Figure]:
    """Best score so far against evaluations, merges and hours of work, if all runs have them."""
    units: tuple[Unit, ...] = ("evaluations", "merges", "hours")
    return [
        _curve(comparison, unit)
        for unit in units
        if all(spent_at(m.course[-1], unit) is not None for m in comparison.members)
    ]


@dataclass(frozen=True)
class MergeCell:
    """One model in the table of all merges."""

    name: str
    score: str
    gain: str
    kinship: str
    kind: str
    direction: str
    best: bool
    in_line: bool
    parents: str


def _curve(comparison: Comparison, unit: Unit) -> Figure:
    named, scale = _axis(comparison, unit)
    lines = [
        (place, arm, member, _points(member, unit, scale))
        for place, arm in enumerate(comparison.arms)
        for member in arm.members
    ]

    def paint(canvas: Canvas) -> Tips:
        axes = canvas.subplots()
        axes_grid(axes, "both")
        tips = Tips()
        end = max(points[-1][0] for *_, points in lines)
        for place, arm, member, points in lines:
            gid = f"line-{place}-{member.seed}"
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
                gid=gid,
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
            tips.one[gid] = f"{member.name}: {member.best.name} {figures.score(member.best)}"
        axes.set_xlabel(named)
        axes.set_ylabel("best score so far")
        axes.legend(loc="lower right")
        return tips

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


def _tasks(comparison: Comparison) -> Sequence[Any]:
    scores = comparison.members[0].best.scores
    return scores.tasks if scores else ()


def _arm_row(arm: Arm, comparison: Comparison) -> dict[str, Any]:
    median = arm.median
    stop = median.state.stop or "not finished"
    top = max(each.score.median for each in comparison.arms)
    work = median.course[-1].work
    return {
        "label": arm.label,
        "runs": len(arm.members),
        "best": median.best.name,
        "score": figures.score(median.best) if len(arm.members) == 1 else spread_points(arm.score),
        "held_out": held_out_text(arm),
        "gain": figures.gain(median.gain),
        "skills": skills_text(arm),
        "evaluations": len(median.course),
        "merges": median.state.merges,
        "work": figures.MISSING if work is None else figures.duration(work),
        "spent": figures.duration(median.state.seconds),
        "reused": median.reused,
        "leads": arm.score.median == top,
        "stop": stop,
        "ended_by": stop.partition(":")[0].replace("_", " "),
    }


def _verdict(versus: Any, comparison: Comparison) -> dict[str, Any]:
    arm = next(arm for arm in comparison.arms if arm.label == versus.second)
    explored = exploration_of(arm.median)
    sentences = [*divergence_sentences(versus)]
    if explored.children:
        sentences.append(exploration_sentence(arm, explored))
    return {
        "text": verdict(versus, comparison).plain,
        "sentences": sentences,
    }


def _leads(best: Sequence[Any], spread: Any) -> bool:
    known = [each.median for each in best if each is not None]
    return spread is not None and spread.median == max(known) > min(known)


def _generations(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """The merges of every arm's median run by generation, best first."""
    members = [arm.median for arm in arms]
    last = max(len(member.state.generations) for member in members) - 1
    found = []
    for number in range(last + 1):
        columns = [_column(member, number) for member in members]
        height = max(map(len, columns))
        rows = [[c[row] if row < len(c) else None for c in columns] for row in range(height)]
        found.append({"number": number, "rows": rows})
    return found


def _column(member: Member, number: int) -> list[MergeCell]:
    state = member.state
    line = {member.best.name, *ancestors(member.best.name, state.models)}
    born = state.at_generation(number)
    ordered = sorted(born, key=lambda m: (m.scores is None, -(m.score or 0.0)))
    return [_cell(model, state, member, line) for model in ordered]


def _cell(model: Model, state: RunState, member: Member, line: set[str]) -> MergeCell:
    gain = merge_gain(model, state.models)
    failed = f"failed: {model.failure.stage}" if model.failure else ""
    return MergeCell(
        name=model.name,
        score=failed or figures.points(model.score),
        gain=figures.gain(gain) if model.parents else "",
        kinship=figures.kinship(parents_kinship(model), state.start.metric)
        if model.parents
        else "",
        kind=model.kind,
        direction=_direction(gain),
        best=model.name == member.best.name,
        in_line=model.name in line,
        parents=figures.parents(model.parents),
    )


def _direction(value: float | None) -> str:
    if value is None or abs(value) < 0.005:
        return ""
    return "up" if value > 0 else "down"
