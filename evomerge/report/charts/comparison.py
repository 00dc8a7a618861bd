"""Charts of a comparison of runs."""

from __future__ import annotations

from typing import Any

import altair as alt

from evomerge.comparison.budgets import Unit, spent_at
from evomerge.comparison.compared import Comparison
from evomerge.report import palette
from evomerge.report.charts.marks import data, finished, tooltip
from evomerge.report.figure import Figure

_DASHES = ([1, 0], [6, 4], [2, 3], [8, 3, 2, 3])


def best_by(comparison: Comparison, unit: Unit, named: str, scale: float) -> Figure:
    """The best score so far of every run against what was spent.

    Args:
        named: title of the axis.
        scale: factor from hours to its unit; 1 for the others.
    """
    rows: list[dict[str, Any]] = [
        {
            "arm": arm.label,
            "run": member.name,
            "seed": member.seed,
            "spent": scale * (spent_at(point, unit) or 0.0),
            "best_score": point.best.score,
            "model": point.best.name,
            "median": int(member is arm.median),
        }
        for arm in comparison.arms
        for member in arm.members
        for point in member.course
        if point.best.score is not None
    ]
    ends = {row["run"]: row for row in rows}
    furthest = max(row["spent"] for row in ends.values())
    line = rows + [{**row, "spent": furthest} for row in ends.values()]
    labels = [arm.label for arm in comparison.arms]
    colours = alt.Scale(
        domain=labels, range=[palette.SERIES[n % len(palette.SERIES)] for n in range(len(labels))]
    )
    dashes = alt.Scale(domain=labels, range=[_DASHES[n % len(_DASHES)] for n in range(len(labels))])
    x = alt.X("spent:Q", title=named, axis=alt.Axis(grid=False))
    y = alt.Y(
        "best_score:Q", title="best score so far (points)", scale=alt.Scale(zero=False, nice=True)
    )
    colour = alt.Color("arm:N", title=None, scale=colours)
    chart = alt.layer(
        alt.Chart(data(line))
        .mark_line(interpolate="step-after")
        .encode(
            x=x,
            y=y,
            color=colour,
            detail="run:N",
            strokeDash=alt.StrokeDash("arm:N", title=None, scale=dashes),
            strokeWidth=alt.condition("datum.median", alt.value(2.4), alt.value(1)),
            opacity=alt.condition("datum.median", alt.value(1), alt.value(0.5)),
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
                model="best model",
                best_score="score|.2f",
                spent=f"{named}|.4~g",
            ),
        ),
    )
    repeats = any(len(arm.members) > 1 for arm in comparison.arms)
    return Figure(
        f"best-by-{unit}",
        f"Best score so far against {'work' if unit == 'hours' else unit}",
        "A dot marks the end of a run; its line continues horizontally. "
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
