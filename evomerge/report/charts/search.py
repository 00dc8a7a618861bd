"""Charts of a search over merge coefficients."""

from __future__ import annotations

from typing import Any

import altair as alt

from evomerge.report import palette
from evomerge.report.charts.marks import (
    CHOSEN,
    NONE_CHOSEN,
    data,
    faded,
    finished,
    interval,
    outlined,
    quoted,
    tooltip,
)
from evomerge.report.figure import Figure, Row
from evomerge.views.run import RunView
from evomerge.views.search import SearchPath, SearchPoint

_COLUMNS = 3


def coefficients(view: RunView) -> Figure | None:
    """The weights of every point as parallel coordinates, coloured by score."""
    search = view.search
    if search is None:
        return None
    scored = [point for point in search.points if point.score is not None]
    scores = [point.score or 0.0 for point in scored]
    if not scored:
        return None
    low, high = min(scores), max(scores)
    top = max(1.0, *(weight for point in scored for weight in point.weights.values()))
    # The last axis is the score, over the height of the others.
    last = "the score"
    while last in search.foundation:
        last += " "
    rows: list[Row] = []
    for point in scored:
        height = top * ((point.score or 0.0) - low) / (high - low) if high > low else top
        told = {"model": point.model, "score": point.score, "method": _method(point)}
        values = [*point.weights.items(), (last, height)]
        rows += [
            {**told, "axis": axis, "place": place, "at": at, "weight": None if axis == last else at}
            for place, (axis, at) in enumerate(values)
        ]
    axes = [*search.foundation, last]
    x = alt.X(
        "axis:N",
        title=None,
        sort=axes,
        axis=alt.Axis(
            labelAngle=0 if len(axes) <= 8 else -40,
            grid=True,
            domain=False,
            ticks=False,
            labelFontSize=12,
            labelLimit=150,
        ),
        scale=alt.Scale(type="point", padding=0.35),
    )
    y = alt.Y(
        "at:Q",
        title="weight of the task vector",
        scale=alt.Scale(domain=[0, top], nice=True),
        axis=alt.Axis(grid=False),
    )
    colour = alt.Color(
        "score:Q",
        title="score",
        scale=alt.Scale(type="quantize", domain=_spread(low, high), range=list(palette.SCALE[3:])),
        legend=alt.Legend(format=".1f"),
    )
    best = quoted(view.outcome.model or "")
    every = alt.Chart(data(rows))
    ends = [
        {"axis": last, "at": top, "said": f"{high:.1f}"},
        {"axis": last, "at": 0.0, "said": f"{low:.1f}"},
    ]
    chart = alt.layer(
        every.mark_line().encode(
            x=x,
            y=y,
            color=colour,
            detail="model:N",
            order="place:Q",
            opacity=faded(0.9, 0.1),
            strokeWidth=alt.condition(
                f"{CHOSEN} || ({NONE_CHOSEN} && datum.model === {best})",
                alt.value(4),
                alt.value(1.8),
            ),
        ),
        every.mark_point(filled=True, size=50).encode(
            x=x,
            y=y,
            color=colour,
            opacity=faded(1.0, 0.1),
            tooltip=tooltip(
                model="model",
                axis="model merged",
                weight="weight|.3f",
                method="method",
                score="score|.2f",
            ),
        ),
        alt.Chart(data(ends))
        .mark_text(align="left", dx=10, color=palette.MUTED)
        .encode(x=x, y=y, text="said:N"),
    )
    return Figure(
        "coefficients",
        "The coefficients that were tried",
        "Each line is a merge of all foundation models: its weight of each task vector, and at the "
        f"right its score, from {low:.1f} to {high:.1f}. The thick line is the best model.",
        f"weights of {len(scored)} merges and their scores, from {low:.1f} to {high:.1f}",
        finished(chart, height=320),
        [
            {
                "number": point.number,
                "model": point.model,
                "generation": point.generation,
                "method": point.method,
                "density": point.density,
                **{f"weight of {name}": weight for name, weight in point.weights.items()},
                "score": point.score,
                "error": point.error,
                "expected": point.expected,
                "expected_error": point.expected_error,
            }
            for point in search.points
        ],
    )


def coefficients_and_score(view: RunView) -> Figure | None:
    """One scatter plot for each foundation model: its weight against the score."""
    search = view.search
    if search is None:
        return None
    rows = [
        {
            "axis": axis,
            "model": point.model,
            "number": point.number,
            "weight": weight,
            "score": point.score,
            "method": _method(point),
        }
        for point in search.points
        if point.score is not None
        for axis, weight in point.weights.items()
    ]
    if not rows:
        return None
    last = max(point.number for point in search.points)
    points = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=70)
        .encode(
            x=alt.X(
                "weight:Q", title="weight", scale=alt.Scale(zero=False, nice=False, padding=10)
            ),
            y=alt.Y("score:Q", title="score", scale=alt.Scale(zero=False, nice=False, padding=10)),
            color=alt.Color(
                "number:Q",
                title="in the order of the search",
                scale=alt.Scale(
                    type="quantize", domain=[1, max(2, last)], range=list(palette.SCALE[3:])
                ),
                legend=alt.Legend(format=".0f"),
            ),
            opacity=faded(),
            stroke=outlined(),
            tooltip=tooltip(
                model="model",
                axis="model merged",
                weight="weight|.3f",
                method="method",
                number="point|d",
                score="score|.2f",
            ),
        )
        .properties(width=290, height=170)
    )
    chart = points.facet(
        facet=alt.Facet("axis:N", title=None, sort=list(search.foundation)), columns=_COLUMNS
    )
    return Figure(
        "coefficients-and-score",
        "Each coefficient against the score",
        "The other coefficients differ between the points too; what each one does by itself is "
        "below.",
        "scores against the weight of each foundation model",
        finished(chart, width=None),
        rows,
    )


def coefficient_importance(view: RunView) -> Figure | None:
    """The share of the score's variance that depends on each coefficient."""
    search = view.search
    if search is None or not search.importance:
        return None
    rows: list[dict[str, Any]] = [
        {"coefficient": name, "importance": share} for name, share in search.importance.items()
    ]
    rows.sort(key=lambda row: -row["importance"])
    y = alt.Y("coefficient:N", title=None, sort=None, axis=alt.Axis(labelFontSize=12, ticks=False))
    every = alt.Chart(data(rows)).encode(
        x=alt.X(
            "importance:Q",
            title="share of the variance",
            axis=alt.Axis(format=".0%"),
            scale=alt.Scale(domain=[0, max(1.0, rows[0]["importance"])]),
        ),
        y=y,
        tooltip=tooltip(coefficient="coefficient of", importance="importance|.1%"),
    )
    chart = alt.layer(
        every.mark_bar(color=palette.BLUE, height={"band": 0.62}, cornerRadiusEnd=3),
        every.mark_text(align="left", dx=5).encode(text=alt.Text("importance:Q", format=".0%")),
    )
    return Figure(
        "importance",
        "Which coefficients matter",
        "Total Sobol index: the share of the variance of the surrogate's expected score that "
        "depends on a coefficient, alone or together with others, if all vary "
        "independently over the range that was tried. Shares can add up to more than 100 %. With "
        "few points it says where the search looked as much as what matters.",
        "; ".join(f"{row['coefficient']}: {float(row['importance']):.0%}" for row in rows),
        finished(chart, height=max(70, 32 * len(rows))),
        rows,
    )


def expected_and_measured(view: RunView) -> Figure | None:
    """The path of the search: the score that was expected of each point, and the measured one."""
    search = view.search
    if search is None or not any(point.expected is not None for point in search.points):
        return None
    rows, within, told = _path(search)
    order = alt.X(
        "number:Q",
        title="point of the search",
        scale=alt.Scale(zero=False, nice=False, padding=16),
        axis=alt.Axis(grid=False, tickMinStep=1, format="d"),
    )
    y = alt.Y("score:Q", title="score (points)", scale=alt.Scale(zero=False, nice=True))
    every = alt.Chart(data(rows))
    said = alt.Scale(
        domain=["measured", "expected, with its 95 % interval"],
        range=[palette.BLUE, palette.ORANGE],
    )
    colour = alt.Color("said:N", title=None, scale=said)
    tips = tooltip(
        model="model",
        score="measured|.2f",
        expected="expected|.2f",
        low="95 % from|.1f",
        high="to|.1f",
    )
    records = [row for row in rows if row["record"]]
    line = [*records, {**records[-1], "number": rows[-1]["number"]}] if records else []
    chart = alt.layer(
        alt.Chart(data(line))
        .mark_line(interpolate="step-after", strokeWidth=1.6)
        .encode(x=order, y=y),
        every.mark_rule(strokeWidth=6, color=palette.ORANGE).encode(
            x=order,
            y=alt.Y("low:Q", scale=alt.Scale(zero=False)),
            y2="high:Q",
            opacity=faded(0.28, 0.08),
            tooltip=tips,
        ),
        every.transform_calculate(said="'expected, with its 95 % interval'")
        .mark_tick(thickness=2.5, size=18, orient="horizontal")
        .encode(x=order, y="expected:Q", color=colour, opacity=faded(), tooltip=tips),
        every.transform_calculate(said="'measured'")
        .mark_point(filled=True, size=90)
        .encode(
            x=order,
            y=y,
            color=colour,
            opacity=faded(),
            stroke=outlined(),
            tooltip=tips,
        ),
    )
    return Figure(
        "search-path",
        "The path of the search: expected and measured",
        "Expected: the score at each point by the search's surrogate, a Gaussian process for each "
        "task, from the points of earlier generations, with the length scales fitted to all "
        f"points. {within} of {told} measured scores lie in its 95 % interval. The line is the "
        "best so far.",
        f"{within} of {told} measured scores lie in the interval that was expected",
        finished(chart, height=300),
        rows,
    )


def _path(search: SearchPath) -> tuple[list[dict[str, Any]], int, int]:
    """Rows, and how many measured scores lie in the expected interval, of how many."""
    rows, within, told = [], 0, 0
    for point in search.points:
        if point.score is None:
            continue
        low, high = interval(point.expected, point.expected_error)
        if low is not None and high is not None:
            told += 1
            within += low <= point.score <= high
            low, high = max(0.0, low), min(100.0, high)
        rows.append(
            {
                "number": point.number,
                "model": point.model,
                "score": point.score,
                "expected": point.expected,
                "low": low,
                "high": high,
                "record": int(point.record),
            }
        )
    return rows, within, told


def _spread(low: float, high: float) -> list[float]:
    return [low, high if high > low else low + 1.0]


def _method(point: SearchPoint) -> str:
    density = "" if point.density is None else f" at density {point.density:g}"
    return point.method.replace("_", " ") + density
