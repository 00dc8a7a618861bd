"""Charts of kinship: the clustered matrix, gain against it (Figure 2), the pool's mean (4)."""

from __future__ import annotations

from typing import Any

import altair as alt

from evomerge.domain.kinship import Metric
from evomerge.report import palette
from evomerge.report.charts.marks import (
    CHOSEN,
    data,
    faded,
    finished,
    interval,
    kind_scales,
    looks_of,
    outlined,
    quoted,
    tooltip,
)
from evomerge.report.figure import Figure
from evomerge.report.wording import METRICS, correlation, estimates_line
from evomerge.terminal import figures
from evomerge.views.kinship import ONE_LINEAGE, Kinship
from evomerge.views.run import RunView

_VALUES = 26  # largest number of models with a number in every cell
_NAMES = 70  # largest number of models with a name on every row


def kinship_matrix(view: RunView) -> Figure | None:
    """The kinship of a run's models, clustered (Figure 5 of the paper)."""
    if view.kinship is None:
        return None
    gaps = ""
    if view.kinship.left_out:
        gaps = (
            f" {view.kinship.left_out} models are left out: those of lower rank, and those of "
            "which no kinship is known."
        )
    return matrix(
        "kinship",
        f"Kinship of the models ({view.metric.value})",
        METRICS[view.metric].capitalize(),
        view.kinship,
        gaps,
        view.outcome.model or "",
    )


def matrix(
    name: str, title: str, says: str, kinship: Kinship, note: str = "", best: str = ""
) -> Figure:
    """A kinship matrix as a heatmap.

    Args:
        says: what the numbers are, without a full stop.
        note: the end of the caption.
        best: the name that is bold.
    """
    order, distance = list(kinship.order), kinship.metric is Metric.EUCLIDEAN
    rows: list[dict[str, Any]] = [
        {"a": one, "b": two, "kinship": kin.value, "error": kin.error}
        for kin in kinship.pairs
        for one, two in ((kin.a, kin.b), (kin.b, kin.a))
    ]
    known = [kin.value for kin in kinship.pairs if kin.value is not None]
    low = min([0.0, *known])
    high = max([*known, low + 1e-9]) if distance else max([1.0, *known])
    shades = list(reversed(palette.SCALE)) if distance else list(palette.SCALE)
    turn = low + (high - low) * (2 if distance else 6) / 8
    deep = f"datum.kinship {'<' if distance else '>='} {turn}"
    named, few = len(order) <= _NAMES, len(order) <= _VALUES
    bold = {
        "condition": {"test": f"datum.value === {quoted(best)}", "value": "bold"},
        "value": "normal",
    }
    look: dict[str, Any] = {
        "domain": False,
        "ticks": False,
        "labels": named,
        "labelFontWeight": bold,
        "labelFontSize": 11 if few else 9,
        "labelLimit": 150,
        "labelOverlap": False,
    }
    gap = alt.Scale(paddingInner=0.06 if few else 0.03)
    x = alt.X("other:N", title=None, sort=order, scale=gap, axis=alt.Axis(labelAngle=-90, **look))
    y = alt.Y("model:N", title=None, sort=order, scale=gap, axis=alt.Axis(**look))
    number = "'.2f'" if not distance else "'.3g'"
    # Each pair is in the data once, and is drawn on both sides of the diagonal.
    every = (
        alt.Chart(
            data(
                {
                    "a": kin.a,
                    "b": kin.b,
                    "kinship": None if kin.value is None else float(f"{kin.value:.4g}"),
                    "error": None if kin.error is None else float(f"{kin.error:.2g}"),
                }
                for kin in kinship.pairs
            )
        )
        .transform_calculate(side="[0, 1]")
        .transform_flatten(["side"])
        .transform_calculate(model="datum.side ? datum.b : datum.a")
        .transform_calculate(other="datum.side ? datum.a : datum.b")
        .transform_calculate(
            said="!isValid(datum.kinship) ? 'not known or undefined' : "
            f"(datum.error ? '~' : '') + format(datum.kinship, {number})"
        )
        .transform_calculate(
            how="datum.error ? 'estimated, ± ' + format(datum.error, '.2g') : "
            "isValid(datum.kinship) ? 'measured' : ''"
        )
    )
    cell = every.mark_rect(cornerRadius=2 if few else 0, invalid="show").encode(
        x=x,
        y=y,
        color=alt.Color(
            "kinship:Q",
            title=None,
            scale=alt.Scale(type="quantize", domain=[low, high], range=shades),
            legend=alt.Legend(format=".2g" if distance else ".2f"),
        ),
        opacity=alt.condition(
            f"selected === '' || {CHOSEN} || datum.other === selected",
            alt.value(1),
            alt.value(0.3),
        ),
        tooltip=tooltip(model="model", other="and", said="kinship", how="how"),
    )
    layers: list[Any] = [cell]
    if few:
        layers.append(
            every.mark_text(fontSize=10)
            .transform_filter("isValid(datum.kinship)")
            .encode(
                x=x,
                y=y,
                text="said:N",
                color=alt.condition(deep, alt.value(palette.PAPER), alt.value(palette.INK)),
            )
        )
    unknown = sum(kin.value is None for kin in kinship.pairs)
    gaps = (
        f" {unknown} of {len(kinship.pairs)} pairs are not known or undefined: grey."
        if unknown
        else ""
    )
    errors = (kin.error for kin in kinship.pairs if kin.error is not None)
    side = min(860, max(220, (38 if few else 15) * len(order)))
    return Figure(
        name,
        title,
        f"{says}. Rows are ordered by average-linkage clustering, which places related models "
        f"together.{estimates_line(errors)}{gaps}{note}",
        f"kinship matrix of {len(order)} models",
        finished(alt.layer(*layers), width=side, height=side),
        rows,
        fluid=False,
    )


def kinship_and_gain(view: RunView) -> Figure | None:
    """The parents' kinship against the gain over them."""
    found = view.merge_gains
    if found is None or found.pairs < 2:
        return None
    looks, metric = looks_of(view), view.metric
    rows = [
        {
            "generation": point.generation,
            "model": point.model,
            "kind": looks[point.kind].label,
            "parents": figures.parents(point.parents),
            "lineages": figures.parents(point.lineages),
            **{each.value: point.kinship.get(each.value) for each in Metric},
            "gain": point.parents_gain,
        }
        for point in found.points
    ]
    colours, shapes = kind_scales(looks, (str(row["kind"]) for row in rows))
    every = alt.Chart(data(rows))
    zero = alt.Chart(data([{"y": 0.0}])).mark_rule().encode(y="y:Q")
    points = every.mark_point(filled=True, size=75).encode(
        x=alt.X(
            f"{metric.value}:Q",
            title=f"kinship of the parents ({metric.value}: {METRICS[metric]})",
            scale=alt.Scale(zero=False, nice=True, padding=10),
        ),
        y=alt.Y("gain:Q", title="gain over the parents (points)"),
        color=alt.Color("kind:N", title=None, scale=colours),
        shape=alt.Shape("kind:N", title=None, scale=shapes),
        opacity=faded(0.9),
        stroke=outlined(),
        tooltip=tooltip(
            **{
                "model": "model",
                "parents": "parents",
                "generation": "generation",
                metric.value: "kinship|.3f",
                "gain": "gain over the parents|+.2f",
            }
        ),
    )
    if found.gain is not None and found.size is not None:
        says = (
            f"Over {found.pairs} different pairs of parents: {correlation(found.gain)}; with the "
            f"size of the gain {correlation(found.size)}. In brackets 95 % bootstrap intervals."
        )
    else:
        says = (
            f"These {len(rows)} merges are of {found.pairs} different pairs of parents: too few "
            "for a correlation."
        )
    left_out = ""
    if view.recorded is not None and view.recorded.assumed_parents:
        names = ", ".join(view.recorded.assumed_parents)
        left_out = f" {names}: left out, since the source does not name their parents."
    return Figure(
        "kinship-gain",
        "Kinship of the parents against the gain over them",
        f"Gain over the parents: score of the child minus the mean score of its parents. {says} "
        f"Merges of models with a kinship above {ONE_LINEAGE:g} to the same ones count as one "
        "point of a correlation: they are one lineage. Over a run kinship grows and gains shrink, "
        f"so part of any correlation is due to time.{left_out}",
        says,
        finished(alt.layer(zero, points), height=320),
        rows,
    )


def pool_kinship(view: RunView) -> Figure | None:
    """The mean kinship of the pool by generation."""
    if view.family is None:
        return None
    rows = []
    for step in view.generations:
        low, high = interval(step.pool_kinship, step.pool_kinship_error)
        rows.append(
            {
                "generation": step.generation,
                "best_score": step.best_score,
                "pool_score": step.pool_score,
                "pool_kinship": step.pool_kinship,
                "pool_kinship_error": step.pool_kinship_error,
                "low": low,
                "high": high,
                "pool": " ".join(step.pool),
            }
        )
    if not any(row["pool_kinship"] is not None for row in rows):
        return None
    threshold, criterion = view.saturation
    similar = view.metric is not Metric.EUCLIDEAN
    x = alt.X(
        "generation:Q", title="generation", axis=alt.Axis(grid=False, tickMinStep=1, format="d")
    )
    y = alt.Y(
        "pool_kinship:Q",
        title=f"mean kinship ({view.metric.value})",
        scale=alt.Scale(domainMax=1.0) if similar else alt.Undefined,
    )
    every = alt.Chart(data(rows)).transform_filter("isValid(datum.pool_kinship)")
    layers: list[Any] = [
        every.mark_line(color=palette.ORANGE, strokeWidth=1.8).encode(x=x, y=y),
        every.mark_point(filled=True, size=60, color=palette.ORANGE, opacity=1).encode(
            x=x,
            y=y,
            tooltip=tooltip(
                generation="generation",
                pool_kinship="mean kinship|.3f",
                pool_kinship_error="± (95 %)|.3f",
                pool="pool",
                pool_score="mean score|.2f",
                best_score="best|.2f",
            ),
        ),
    ]
    if any(row["low"] is not None for row in rows):
        ends = alt.Y("low:Q", scale=alt.Scale(domainMax=1.0) if similar else alt.Undefined)
        bars = every.transform_filter("isValid(datum.low)").mark_rule(color=palette.ORANGE)
        layers.insert(0, bars.encode(x=x, y=ends, y2="high:Q", opacity=alt.value(0.5)))
    line = "A distance has no saturation threshold."
    if similar:
        layers.insert(
            0, alt.Chart(data([{"y": threshold}])).mark_rule(strokeDash=[4, 4]).encode(y="y:Q")
        )
        line = (
            f"The dashed line is this run's saturation threshold, {threshold:g}."
            if criterion
            else f"The dashed line, {threshold:g}, is the paper's early stop, which was not used."
        )
    if view.stages.saturation is not None:
        stage = view.stages.saturation
        shade = alt.Chart(data([{"from": stage.first - 0.5, "to": stage.last + 0.5}]))
        layers.insert(
            0, shade.mark_rect(color=palette.YELLOW, opacity=0.1).encode(x="from:Q", x2="to:Q")
        )
        line += " Shaded: the saturation stage."
    widths = (step.pool_kinship_error for step in view.generations if step.pool_kinship_error)
    return Figure(
        "pool-kinship",
        "Mean kinship of the pool",
        f"Merges of closely related models gain little. {line}{estimates_line(widths)}",
        "mean kinship of the pool by generation",
        finished(alt.layer(*layers), height=240),
        [{k: v for k, v in row.items() if k not in {"low", "high"}} for row in rows],
    )
