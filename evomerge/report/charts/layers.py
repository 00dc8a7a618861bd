"""Weight changes by layer (Figure 7 of the paper)."""

from __future__ import annotations

from typing import Any

import altair as alt

from evomerge.report import palette
from evomerge.report.charts.marks import data, finished, tooltip
from evomerge.report.figure import Figure
from evomerge.views.run import RunView

_MOST_TICKS = 16
_TITLES = {"attention": "attention", "mlp": "MLP"}


def weight_change(view: RunView) -> Figure | None:
    """The best model against its parents and the base, by layer; None if it was not measured."""
    if not view.changes:
        return None
    rows: list[dict[str, Any]] = [
        {"layer": each.layer, "kind": each.kind, "against": each.other, "rms": each.rms}
        for each in view.changes
    ]
    base = view.base.name
    others = list(dict.fromkeys(each.other for each in view.changes if each.other != base))
    looks = alt.Scale(
        domain=[*others, base],
        range=[
            *(palette.SERIES[place % len(palette.SERIES)] for place in range(len(others))),
            palette.FAINT,
        ],
    )
    lines = (
        alt.Chart(data([{**row, "kind": _TITLES[str(row["kind"])]} for row in rows]))
        .mark_line(point={"filled": True, "size": 45}, strokeWidth=1.8)
        .encode(
            x=alt.X(
                "layer:Q", title="layer", axis=alt.Axis(values=_ticks(rows), format="d", grid=False)
            ),
            y=alt.Y("rms:Q", title="RMS change of a weight", axis=alt.Axis(format=".2~g")),
            color=alt.Color("against:N", title="against", scale=looks),
            tooltip=tooltip(against="against", layer="layer", rms="RMS change|.3g"),
        )
        .properties(width=450, height=200)
    )
    chart = lines.facet(facet=alt.Facet("kind:N", title=None), columns=2)
    return Figure(
        "weight-change",
        f"Weight change of {view.outcome.model} against its parents, by layer",
        "Root mean square of the difference of weights, over the attention and the MLP weights of "
        "a layer: small if the child has nearly the weights of the parent. The grey line is the "
        "base model, for scale. Estimated from samples of the weights (to about 1 %).",
        "weight change of the best model against its parents, by layer",
        finished(chart, width=None),
        rows,
    )


def _ticks(rows: list[dict[str, Any]]) -> list[int]:
    """Every layer, or every nth of a deep model."""
    last = max(row["layer"] for row in rows)
    return list(range(0, last + 1, 1 + last // _MOST_TICKS))
