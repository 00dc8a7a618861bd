"""Charts by task: what models keep of the specialists, what the best one gained, trade-offs."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from evomerge.report import palette
from evomerge.report.charts.marks import (
    WIDTH,
    data,
    faded,
    finished,
    kind_of,
    kind_scales,
    looks_of,
    outlined,
    quoted,
    tooltip,
)
from evomerge.report.figure import Figure, Row
from evomerge.terminal import figures
from evomerge.views.run import RunView

_ROWS = 30
"""The largest number of models in the heatmap."""


def gained_and_lost(view: RunView) -> Figure | None:
    """The best model against the specialist on each task, and what is kept, gained and lost."""
    tasks = view.tasks
    if tasks is None or not tasks.changes or len(tasks.names) < 2:
        return None
    split = tasks.changes[0].split
    rows = [
        {
            "model": view.outcome.model,
            "task": each.task,
            "specialist": each.specialist,
            "reference": each.reference,
            "score": each.score,
            "difference": each.difference,
            "low": each.low,
            "high": each.high,
            "change": each.change,
        }
        for each in tasks.changes
    ]
    names = [each.task for each in tasks.changes]
    task = alt.Y("task:N", title=None, sort=names, axis=alt.Axis(labelFontSize=12))
    points = alt.X("score:Q", title="score (points)", scale=alt.Scale(domain=[0, 100]))
    colour = alt.Color(
        "change:N",
        title=None,
        scale=alt.Scale(
            domain=["lost", "kept", "gained"], range=[palette.RED, palette.GREEN, palette.BLUE]
        ),
    )
    every = alt.Chart(data(rows))
    tips = tooltip(
        task="task",
        change="skill",
        score="best model|.1f",
        specialist="specialist",
        reference="its score|.1f",
        difference="difference|+.1f",
        low="95 % from|+.1f",
        high="to|+.1f",
    )
    chart = alt.layer(
        every.mark_rule(strokeWidth=5, opacity=0.35).encode(
            x=points, x2="reference:Q", y=task, color=colour, tooltip=tips
        ),
        every.mark_tick(thickness=2.5, size=20, color=palette.MUTED).encode(
            x="reference:Q", y=task, tooltip=tips
        ),
        every.mark_point(filled=True, size=130, opacity=1).encode(
            x=points, y=task, color=colour, tooltip=tips
        ),
        every.mark_text(align="left", dx=14, fontSize=12)
        .transform_calculate(said="format(datum.difference, '+.1f')")
        .encode(x=alt.value("width"), y=task, text="said:N", color=colour),
    )
    items = {"held_out": "held-out items", "selection": "the items of the search"}
    return Figure(
        "gained-and-lost",
        f"What {view.outcome.model} kept, gained and lost, task by task",
        f"The dot is the best model, the bar the specialist: the best foundation model on the "
        f"task, on {items.get(split, split)}. A skill is kept at {100 * tasks.kept_at:g} % of the "
        "specialist's score.",
        "; ".join(
            f"{e.task}: {e.score:.1f} of {e.reference:.1f}, {e.change}" for e in tasks.changes
        ),
        finished(chart, height=max(90, 34 * len(rows))),
        rows,
    )


def model_by_task(view: RunView) -> Figure | None:
    """Models × tasks as a heatmap: the share of the specialist's score that each model has."""
    tasks = view.tasks
    if tasks is None or len(tasks.names) < 2:
        return None
    models = {model.name: model for model in view.models}
    foundation = [model.name for model in view.models if not model.generation]
    ranked = sorted(
        (m for m in view.models if m.generation and m.rank is not None), key=lambda m: m.rank or 0
    )
    chosen = [*foundation, *(model.name for model in ranked)][:_ROWS]
    cells = [cell for cell in tasks.scores if cell.model in set(chosen)]
    rows = [
        {
            "model": cell.model,
            "task": cell.task,
            "score": cell.score,
            "error": cell.error,
            "specialist": cell.specialist,
            "reference": cell.reference,
            "share": cell.score / cell.reference if cell.reference else None,
            "foundation": int(cell.model in foundation),
            "change": "specialist" if cell.model == cell.specialist else cell.change,
        }
        for cell in cells
    ]
    scored = sum(model.score is not None for model in models.values())
    hidden = scored - len(chosen)
    shown = (
        f" The {hidden} models of lower rank are in the table of all models." if hidden > 0 else ""
    )
    height = 24 * len(chosen)
    return Figure(
        "model-by-task",
        "Every model on every task, with the specialists as reference",
        "Numbers are scores in points on the items of the search; the colour is their share of the "
        "score of the specialist, the best foundation model on the task, which is outlined. Shades "
        f"of red are lost skills: below {100 * tasks.kept_at:g} %. Foundation models come first, "
        f"then their offspring, best first.{shown}",
        f"scores of {len(chosen)} models on {len(tasks.names)} tasks",
        finished(
            shares(rows, "model", chosen, tasks.names, tasks.kept_at, view.outcome.model or ""),
            height=height,
            width=min(WIDTH, 220 + 130 * len(tasks.names)),
        ),
        rows,
    )


def shares(
    rows: Sequence[Row],
    by: str,
    order: Sequence[str],
    tasks: Sequence[str],
    kept_at: float,
    best: str = "",
) -> alt.LayerChart:
    """A heatmap of scores by task, coloured by their share of the specialist's score.

    Args:
        rows: with task, score, error, specialist, reference, share, change, and `foundation`, 1
            for what is shown without colours.
        by: the field of the lines, which are in `order`; `best` is bold.
    """
    bounds = [kept_at / 3, 2 * kept_at / 3, kept_at, 1.0 + 1e-9, 1.1]
    bold = {
        "condition": {"test": f"datum.value === {quoted(best)}", "value": "bold"},
        "value": "normal",
    }
    x = alt.X(
        "task:N",
        title=None,
        sort=list(tasks),
        scale=alt.Scale(paddingInner=0.02),
        axis=alt.Axis(
            orient="top",
            labelAngle=alt.Undefined if len(tasks) <= 6 else -40,
            domain=False,
            ticks=False,
            labelFontSize=12,
            labelLimit=160,
            labelOverlap=False,
        ),
    )
    y = alt.Y(
        f"{by}:N",
        title=None,
        sort=list(order),
        scale=alt.Scale(paddingInner=0.08),
        axis=alt.Axis(domain=False, ticks=False, labelFontWeight=bold, labelLimit=190),
    )
    share = alt.Color(
        "share:Q",
        title="share of the specialist's score",
        scale=alt.Scale(
            type="threshold", domain=bounds, range=[*palette.CHANGES[:4], *palette.CHANGES[5:]]
        ),
        legend=alt.Legend(format=".0%"),
    )
    fields = {by: by, "model": "model", "task": "task", "score": "score|.1f"}
    tips = tooltip(
        **fields,
        error="± (95 %)|.1f",
        specialist="specialist",
        reference="its score|.1f",
        share="share kept|.0%",
        change="skill",
    )
    plain = "datum.foundation"
    every = alt.Chart(data(rows))
    cell = every.mark_rect(cornerRadius=3).encode(
        x=x,
        y=y,
        color=alt.condition(plain, alt.value(palette.PAPER), share),
        opacity=faded(1.0, 0.35),
        tooltip=tips,
    )
    outline = every.transform_filter("datum.change === 'specialist'").mark_rect(
        fillOpacity=0, stroke=palette.MUTED, strokeWidth=2, cornerRadius=3
    )
    deep = f"datum.share < {bounds[0]} || datum.share > {bounds[4]}"
    number = every.mark_text(fontSize=11).encode(
        x=x,
        y=y,
        text=alt.Text("score:Q", format=".0f"),
        color={
            "condition": [
                {"test": f"{plain} && datum.change !== 'specialist'", "value": palette.MUTED},
                {"test": f"!{plain} && ({deep})", "value": palette.PAPER},
            ],
            "value": palette.INK,
        },
        tooltip=tips,
    )
    return alt.layer(cell, outline.encode(x=x, y=y, tooltip=tips), number)


def trade_off(view: RunView) -> Figure | None:
    """Two tasks against each other, with the models that no other beats on both."""
    tasks = view.tasks
    if tasks is None or tasks.trade_off is None:
        return None
    looks = looks_of(view)
    rows = [
        {
            "model": model.name,
            "kind": kind_of(model, looks),
            "parents": figures.parents(model.parents),
            "score": model.score,
            **{f"task {number}": model.tasks.get(task) for number, task in enumerate(tasks.names)},
        }
        for model in view.models
        if model.score is not None
    ]
    names = list(tasks.names)
    fields = {name: f"task {number}" for number, name in enumerate(names)}
    params = [
        alt.param(
            name=f"on_{axis}",
            value=fields[task],
            bind=alt.binding_select(options=list(fields.values()), labels=names, name=f"{axis}: "),
        )
        for axis, task in zip("xy", tasks.trade_off, strict=True)
    ]
    colours, shapes = kind_scales(looks, (str(row["kind"]) for row in rows))
    falling = [alt.SortField(axis, order="descending") for axis in ("x", "y")]
    every = (
        alt.Chart(data(rows))
        .transform_calculate(x="datum[on_x]", y="datum[on_y]")
        .transform_filter("isValid(datum.x) && isValid(datum.y)")
        .transform_window(top="max(y)", frame=[None, 0], sort=falling)
        .transform_window([{"op": "lag", "field": "top", "as": "above"}], sort=falling)
        .transform_calculate(front="!isValid(datum.above) || datum.y > datum.above")
    )
    room = alt.Scale(zero=False, nice=False, padding=14)
    x, y = alt.X("x:Q", title=" ", scale=room), alt.Y("y:Q", title=None, scale=room)
    named = quoted_names(names)
    chart = alt.layer(
        every.transform_filter("datum.front")
        .mark_line(interpolate="step-before", strokeDash=[4, 3], color=palette.MUTED)
        .encode(x=x, y=y, order=alt.Order("x:Q")),
        every.mark_point(filled=True, size=80).encode(
            x=x,
            y=y,
            color=alt.Color("kind:N", scale=colours, title=None, legend=alt.Legend(offset=26)),
            shape=alt.Shape("kind:N", scale=shapes, title=None, legend=alt.Legend(offset=26)),
            opacity=alt.condition(
                "selected === '' ? datum.front : datum.model === selected",
                alt.value(1),
                alt.value(0.3),
            ),
            stroke=outlined(),
            tooltip=tooltip(
                model="model",
                kind="kind",
                parents="parents",
                x="x|.1f",
                y="y|.1f",
                score="score|.2f",
            ),
        ),
        every.transform_filter("datum.front")
        .mark_text(align="right", dx=-8, dy=-8, color=palette.MUTED)
        .encode(x=x, y=y, text="model:N", opacity=faded(1.0, 0.3)),
        alt.Chart(data([{}]))
        .mark_text(
            text=alt.ExprRef(f"{named}[on_x] + ' →'"),
            align="right",
            baseline="top",
            dy=26,
            fontSize=12,
            color=palette.MUTED,
        )
        .encode(x=alt.value("width"), y=alt.value("height")),
        alt.Chart(data([{}]))
        .mark_text(
            text=alt.ExprRef(f"'↑ ' + {named}[on_y]"),
            align="left",
            baseline="bottom",
            dx=-30,
            dy=-6,
            fontSize=12,
            color=palette.MUTED,
        )
        .encode(x=alt.value(0), y=alt.value(0)),
    ).add_params(*params)
    one, two = tasks.trade_off
    return Figure(
        "trade-off",
        "Two tasks against each other",
        f"The models on the dashed line are beaten by no other model on both tasks (the Pareto "
        f"front); the others are faint. Shown first are {one} and {two}, the tasks on which the "
        "models disagree most; choose others below the figure.",
        f"scores on {one} against {two}",
        finished(chart, height=340),
        [
            {
                **{k: v for k, v in row.items() if not k.startswith("task ")},
                **{name: row[field] for name, field in fields.items()},
            }
            for row in rows
        ],
    )


def quoted_names(names: list[str]) -> str:
    """An object of Vega's expressions: the names by field."""
    pairs = (f"{quoted(f'task {number}')}: {quoted(name)}" for number, name in enumerate(names))
    return "{" + ", ".join(pairs) + "}"
