"""Scores in the order of evaluations, and the best so far (Figures 3 and 6a of the paper)."""

from __future__ import annotations

import altair as alt

from evomerge.report import palette
from evomerge.report.charts.marks import (
    data,
    faded,
    finished,
    interval,
    kind_of,
    kind_scales,
    looks_of,
    outlined,
    tooltip,
)
from evomerge.report.figure import Figure
from evomerge.terminal import figures
from evomerge.views.run import RunView


def best_so_far(view: RunView) -> Figure | None:
    """Every scored model in the order of evaluations, and the best so far as a line."""
    looks = looks_of(view)
    rows = []
    for model in sorted(view.models, key=lambda model: model.evaluation or 0):
        if model.evaluation is None or model.score is None:
            continue
        low, high = interval(model.score, model.error)
        rows.append(
            {
                "evaluation": model.evaluation,
                "model": model.name,
                "generation": model.generation,
                "kind": kind_of(model, looks),
                "parents": figures.parents(model.parents),
                "score": model.score,
                "low": low,
                "high": high,
                "held_out": model.held_out,
                "gain": model.gain,
                "best_so_far": int(model.record),
                "perplexity": model.perplexity,
            }
        )
    if not rows:
        return None
    last = rows[-1]["evaluation"]
    records = [row for row in rows if row["best_so_far"]]
    line = [{key: row[key] for key in ("evaluation", "score")} for row in records]
    line += [{"evaluation": last, "score": records[-1]["score"]}] if records else []
    colours, shapes = kind_scales(looks, (str(row["kind"]) for row in rows))
    score = alt.Y("score:Q", title="score (points)", scale=alt.Scale(zero=False, nice=True))
    order = alt.X(
        "evaluation:Q",
        title="evaluation",
        scale=alt.Scale(zero=False, nice=False, padding=12),
        axis=alt.Axis(grid=False, tickMinStep=1, format="d"),
    )
    every = alt.Chart(data(rows))
    best = (
        alt.Chart(data(line))
        .mark_line(interpolate="step-after", color=palette.INK, strokeWidth=1.6)
        .encode(x=order, y=score)
    )
    bars = every.mark_rule(strokeWidth=1.4).encode(
        x=order,
        y=alt.Y("low:Q", scale=alt.Scale(zero=False)),
        y2="high:Q",
        color=alt.Color("kind:N", scale=colours, title=None),
        opacity=faded(0.5, 0.08),
    )
    points = every.mark_point(filled=True, size=70 if len(rows) <= 200 else 30).encode(
        x=order,
        y=score,
        color=alt.Color("kind:N", scale=colours, title=None),
        shape=alt.Shape("kind:N", scale=shapes, title=None),
        opacity=faded(),
        stroke=outlined(),
        strokeWidth=alt.value(1.2),
        tooltip=tooltip(
            model="model",
            kind="kind",
            parents="parents",
            generation="generation",
            score="score|.2f",
            low="95 % from|.2f",
            high="to|.2f",
            held_out="held-out|.2f",
            gain="gain over the best foundation model|+.2f",
        ),
    )
    layers = [best, *([bars] if any(row["low"] is not None for row in rows) else []), points]
    over = next((row for row in rows if row["model"] == view.best_foundation), None)
    if over is not None:
        reference = alt.Chart(data([{"score": over["score"]}]))
        layers.insert(0, reference.mark_rule(strokeDash=[4, 4]).encode(y=score))
    bars_say = (
        "Bars are 95 % intervals (tasks taken as independent)."
        if any(row["low"] is not None for row in rows)
        else "There are no intervals: no standard errors were recorded."
    )
    return Figure(
        "best-so-far",
        "Every model in the order of evaluations, and the best so far",
        f"{bars_say} The dashed line is the best foundation model, which gains are over. The best "
        "of many noisy scores is biased upward: the more models were scored, the larger the bias.",
        f"scores by evaluation; the best is {view.outcome.model}",
        finished(alt.layer(*layers), height=340),
        rows,
    )
