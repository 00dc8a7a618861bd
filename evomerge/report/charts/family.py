"""The family tree (Figure 6b of the paper): rules and boxes at places of our own layout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import altair as alt

from evomerge.report import palette
from evomerge.report.charts.marks import (
    NONE_CHOSEN,
    WIDTH,
    data,
    faded,
    finished,
    kind_of,
    kind_scales,
    looks_of,
    tooltip,
)
from evomerge.report.figure import Figure
from evomerge.terminal import figures
from evomerge.views.family import Family
from evomerge.views.run import RunView

_PITCH = 84  # pixels between rows
_LABELS = 0.075  # share of the width that is left of the boxes
_HALF, _TALL = 0.052, 0.2  # half the width of a box (share of the width) and half its height (rows)
_GAP = 0.008


def family_tree(view: RunView) -> Figure | None:
    """Generations from top to bottom; the line of the best model is strong."""
    tree = view.family
    if tree is None:
        return None
    looks, models = looks_of(view), {model.name: model for model in view.models}
    boxes = _boxes(tree)
    rows: list[dict[str, Any]] = []
    for name, (x, y, half) in boxes.items():
        model = models[name]
        rows.append(
            {
                "generation": model.generation,
                "model": name,
                "kind": kind_of(model, looks),
                "parents": figures.parents(model.parents),
                "kinship": model.kinship,
                "score": model.score,
                "parents_gain": model.parents_gain,
                "gain": model.gain,
                "line_of_best": int(model.in_line),
                "reason": model.reason,
                "said": f"{model.score:.1f}" if model.score is not None else model.status,
                "star": "★ " if name == view.outcome.model else "",
                "x": x,
                "y": y,
                "left": x - half,
                "right": x + half,
                "top": y - _TALL,
                "bottom": y + _TALL,
            }
        )
    edges = [
        {
            "edge": f"{parent}→{child}",
            "place": place,
            "x": x,
            "y": y,
            "model": child,
            "parent": parent,
            "kind": looks[models[child].kind].label,
            "strong": int(models[child].in_line and models[parent].in_line),
        }
        for parent, child in tree.edges
        for place, (x, y) in enumerate(_path(tree, boxes, parent, child))
    ]
    count = len(tree.rows)
    across = alt.Scale(domain=[0, 1], nice=False, zero=False)
    down = alt.Scale(domain=[count - 0.55, -0.45], nice=False, zero=False)
    x, y = alt.X("x:Q", scale=across, axis=None), alt.Y("y:Q", scale=down, axis=None)
    left, top = alt.X("left:Q", scale=across, axis=None), alt.Y("top:Q", scale=down, axis=None)
    scores = [row["score"] for row in rows if row["score"] is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    colours, _ = kind_scales(looks, (str(edge["kind"]) for edge in edges))
    every = alt.Chart(data(rows))
    deep = f"datum.score >= {low + (high - low) * 6 / 8}"
    ink = alt.condition(deep, alt.value(palette.PAPER), alt.value(palette.INK))
    tips = tooltip(
        model="model",
        kind="kind",
        parents="parents",
        score="score|.2f",
        gain="gain over the best foundation model|+.2f",
        parents_gain="gain over the parents|+.2f",
        kinship="kinship of the parents|.2f",
        reason="why",
    )
    chosen = (
        f"datum.model === selected || datum.parent === selected || ({NONE_CHOSEN} && datum.strong)"
    )
    chart = alt.layer(
        alt.Chart(data(edges))
        .mark_line(interpolate="monotone", orient="vertical")
        .encode(
            x=x,
            y=y,
            detail="edge:N",
            order="place:Q",
            color=alt.Color("kind:N", title=None, scale=colours),
            opacity=alt.condition(chosen, alt.value(1), alt.value(0.22)),
            strokeWidth=alt.condition(chosen, alt.value(2.2), alt.value(1.2)),
        ),
        every.mark_rect(cornerRadius=6, opacity=1, fill=palette.PAPER).encode(
            x=left,
            x2="right:Q",
            y=top,
            y2="bottom:Q",
        ),
        every.mark_rect(cornerRadius=6).encode(
            x=left,
            x2="right:Q",
            y=top,
            y2="bottom:Q",
            fill=alt.Fill(
                "score:Q",
                title="score",
                scale=alt.Scale(
                    type="quantize", domain=[low, max(high, low + 1e-9)], range=list(palette.SCALE)
                ),
                legend=alt.Legend(format=".1f"),
            ),
            stroke=alt.condition(
                "datum.line_of_best || datum.model === selected",
                alt.value(palette.INK),
                alt.value(palette.FAINT),
            ),
            strokeWidth=alt.condition(
                "datum.line_of_best || datum.model === selected", alt.value(1.8), alt.value(1)
            ),
            opacity=faded(1.0, 0.45),
            tooltip=tips,
        ),
        every.mark_text(dy=-7, fontSize=10.5, limit=2 * _HALF * WIDTH - 10)
        .transform_calculate(name="datum.star + datum.model")
        .encode(x=x, y=y, text="name:N", color=ink, tooltip=tips),
        every.mark_text(dy=8, fontSize=10.5).encode(
            x=x, y=y, text="said:N", color=ink, tooltip=tips
        ),
        alt.Chart(data(_labels(tree)))
        .mark_text(align="left", color=palette.MUTED, lineBreak="\n")
        .encode(x=alt.value(0), y=y, text="said:N"),
    )
    hidden = len(view.models) - len(boxes)
    left_out = (
        f" {hidden} of {len(view.models)} models are not shown: those with the lowest scores of "
        "each generation that are not ancestors of the best."
        if hidden
        else ""
    )
    best = view.outcome.model
    return Figure(
        "family-tree",
        "The family tree",
        f"The strong lines lead to {best}, the best model (★).{left_out}",
        f"family tree of {len(boxes)} models; the best is {best}",
        finished(chart, height=_PITCH * count),
        [{k: v for k, v in row.items() if k not in _DRAWN} for row in rows],
        fluid=False,
    )


_DRAWN = {"said", "star", "x", "y", "left", "right", "top", "bottom"}


def _boxes(tree: Family) -> dict[str, tuple[float, float, float]]:
    """(x, row, half the width) of every box; x and the width are shares of the width."""
    room = 1.0 - _LABELS
    found = {}
    for number, row in enumerate(tree.rows):
        slot = room / max(1, len(row.models))
        half = min(_HALF, slot / 2 - _GAP / 2)
        spread = min(slot, _HALF * 3.8) / slot  # a row with few models stays together
        for name in row.models:
            x = 0.5 + (tree.place[name] - 0.5) * spread
            found[name] = (_LABELS + x * room, float(number), half)
    return found


def _path(
    tree: Family, boxes: dict[str, tuple[float, float, float]], parent: str, child: str
) -> Iterator[tuple[float, float]]:
    """The points of an edge, which goes between the boxes of the rows that it crosses."""
    (px, py, _), (x, y, _) = boxes[parent], boxes[child]
    yield px, py + _TALL
    for number in range(int(py) + 1, int(y)):
        others = sorted(boxes[name] for name in tree.rows[number].models)
        straight = px + (x - px) * (number - py) / (y - py)
        if others:
            side = others[0][2] + _GAP
            free = [others[0][0] - side, others[-1][0] + side]
            free += [(a[0] + b[0]) / 2 for a, b in pairwise(others)]
            if free[0] < straight < free[1]:
                straight = min(free, key=lambda place: abs(place - straight))
        yield straight, number - _TALL
        yield straight, number + _TALL
    yield x, y - _TALL


def _labels(tree: Family) -> list[dict[str, Any]]:
    found = []
    for number, row in enumerate(tree.rows):
        text = "foundation" if row.generation == 0 else f"gen {row.generation}"
        if row.until is not None and row.until > row.generation:
            text = f"gen {row.generation} to {row.until}"
        if row.hidden:
            text += f"\n+ {row.hidden} more" if row.models else f"\n{row.hidden} not shown"
        found.append({"y": float(number), "said": text})
    return found
