"""Charts of a comparison of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from evomerge.comparison.budgets import Unit
from evomerge.report import palette
from evomerge.report.charts.marks import data, finished, tooltip
from evomerge.report.charts.tasks import shares
from evomerge.report.figure import Figure
from evomerge.views.comparison import ArmRow, CoursePoint

_DASHES = ([1, 0], [6, 4], [2, 3], [8, 3, 2, 3])


def best_models(arms: Sequence[ArmRow]) -> Figure:
    """The best model of every run, by arm: on held-out items if all are scored on them."""
    held_out = all(run.held_out is not None for arm in arms for run in arm.runs)
    rows: list[dict[str, Any]] = []
    for arm in arms:
        for run in arm.runs:
            value = run.held_out if held_out else run.score
            error = run.held_out_error if held_out else run.error
            rows.append(
                {
                    "arm": arm.label,
                    "run": run.name,
                    "seed": run.seed,
                    "best": run.model,
                    "score": value,
                    "low": None if value is None or error is None else value - error,
                    "high": None if value is None or error is None else value + error,
                    "selection": run.score,
                }
            )
    labels = [arm.label for arm in arms]
    title = f"score of the best model, {'held-out' if held_out else 'selection'} items (points)"
    x = alt.X("score:Q", title=title, scale=alt.Scale(zero=False, nice=True, padding=10))
    y = alt.Y(
        "arm:N", title=None, sort=labels, axis=alt.Axis(labelFontSize=12, labelLimit=300, grid=True)
    )
    colour = alt.Color("arm:N", legend=None, scale=arm_colours(labels))
    tips = tooltip(
        arm="arm",
        run="run",
        seed="seed",
        best="best model",
        score="score|.2f",
        low="95 % from|.2f",
        high="to|.2f",
        selection="selection score|.2f",
    )
    every = alt.Chart(data(rows))
    layers: list[Any] = [
        every.mark_point(filled=True, size=120, opacity=0.9, stroke=palette.PAPER).encode(
            x=x, y=y, color=colour, tooltip=tips
        )
    ]
    if any(row["low"] is not None for row in rows):
        low = alt.X("low:Q", title=title, scale=alt.Scale(zero=False, nice=True, padding=10))
        bars = every.mark_rule(strokeWidth=5, opacity=0.28)
        layers.insert(0, bars.encode(x=low, x2="high:Q", y=y, color=colour, tooltip=tips))
    items = (
        "on held-out items, which the searches did not use"
        if held_out
        else "on the items that selected them: the best of many is overestimated"
    )
    return Figure(
        "best-models",
        "The best model of every run",
        f"Scores {items}. Bars are 95 % intervals (tasks taken as independent).",
        "; ".join(f"{row['run']} {row['score']:.2f}" for row in rows),
        finished(alt.layer(*layers), height=max(80, 44 * len(arms))),
        rows,
    )


def arms_by_task(arms: Sequence[ArmRow], kept_at: float) -> Figure | None:
    """Arms × tasks: the share of the specialist's score that each arm's best model has."""
    rows = [
        {
            "arm": arm.label,
            "model": arm.model,
            "task": each.task,
            "score": each.score,
            "error": each.error,
            "specialist": each.specialist,
            "reference": each.reference,
            "share": each.score / each.reference if each.reference else None,
            "change": each.change,
            "split": each.split.replace("_", "-"),
            "foundation": 0,
        }
        for arm in arms
        for each in arm.tasks
    ]
    if not rows:
        return None
    tasks = list(dict.fromkeys(str(row["task"]) for row in rows))
    labels = [arm.label for arm in arms]
    splits = " and ".join(dict.fromkeys(str(row["split"]) for row in rows))
    return Figure(
        "arms-by-task",
        "The best model of every arm, task by task",
        f"Scores in points on {splits} items of the best model of each arm's median run. The "
        "colour is their share of the score of the specialist, the best foundation model on the "
        "task. "
        f"Shades of red are lost skills: below {100 * kept_at:g} %.",
        f"scores of {len(labels)} arms on {len(tasks)} tasks",
        finished(
            shares(rows, "arm", labels, tasks, kept_at),
            height=34 * len(labels),
        ),
        rows,
    )


def best_by(course: Sequence[CoursePoint], unit: Unit) -> Figure | None:
    """The best score so far of every run against what was spent; None if that is not known."""
    if any(getattr(point, unit) is None for point in course):
        return None
    named, scale = _axis(course, unit)
    rows: list[dict[str, Any]] = [
        {
            "arm": point.arm,
            "run": point.run,
            "seed": point.seed,
            "spent": scale * getattr(point, unit),
            "best_score": point.score,
            "best": point.model,
            "median": int(point.median),
        }
        for point in course
        if point.score is not None
    ]
    ends = {row["run"]: row for row in rows}
    furthest = max((row["spent"] for row in ends.values()), default=0.0)
    labels = list(dict.fromkeys(point.arm for point in course))
    dashes = alt.Scale(domain=labels, range=[_DASHES[n % len(_DASHES)] for n in range(len(labels))])
    x = alt.X("spent:Q", title=named, axis=alt.Axis(grid=False))
    y = alt.Y(
        "best_score:Q", title="best score so far (points)", scale=alt.Scale(zero=False, nice=True)
    )
    colour = alt.Color("arm:N", title=None, scale=arm_colours(labels))
    chart = alt.layer(
        alt.Chart(data([*rows, *({**row, "spent": furthest} for row in ends.values())]))
        .mark_line(interpolate="step-after")
        .encode(
            x=x,
            y=y,
            color=colour,
            detail="run:N",
            strokeDash=alt.StrokeDash("arm:N", title=None, scale=dashes),
            strokeWidth=alt.condition("datum.median", alt.value(2.4), alt.value(1)),
            opacity=alt.condition("datum.median", alt.value(1), alt.value(0.45)),
        ),
        alt.Chart(data(list(ends.values())))
        .mark_point(filled=True, size=90, stroke=palette.PAPER, opacity=1)
        .encode(
            x=x,
            y=y,
            color=colour,
            tooltip=tooltip(
                arm="arm",
                run="run",
                seed="seed",
                best="best model",
                best_score="score|.2f",
                spent=f"{named}|.4~g",
            ),
        ),
    )
    repeats = len(ends) > len(labels)
    return Figure(
        f"best-by-{unit}",
        f"Best score so far against {'work' if unit == 'hours' else unit}",
        "On the items of the search. A dot marks the end of a run; its line goes on horizontally. "
        + ("The thick line is an arm's median run. " if repeats else "")
        + ("Reused work counts with the time it took originally." if unit == "hours" else ""),
        "; ".join(f"{run} reaches {row['best_score']:.2f}" for run, row in ends.items()),
        finished(chart, height=300),
        [
            {
                "run": row["run"],
                named.partition(" ")[0]: row["spent"],
                "best_score": row["best_score"],
            }
            for row in rows
        ],
    )


def arm_colours(labels: Sequence[str]) -> alt.Scale:
    """The colours of arms, which are the same in all figures."""
    series = palette.SERIES
    return alt.Scale(
        domain=list(labels), range=[series[n % len(series)] for n in range(len(labels))]
    )


def _axis(course: Sequence[CoursePoint], unit: Unit) -> tuple[str, float]:
    """The label of an axis and its scale factor; short runs are shown in seconds."""
    if unit != "hours":
        return unit, 1.0
    longest = max(point.hours or 0.0 for point in course)
    name, scale = ("hours", 1.0) if longest >= 2 else ("minutes", 60.0)
    return (f"{name} of work", scale) if longest >= 0.05 else ("seconds of work", 3600.0)
