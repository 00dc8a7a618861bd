"""Figures over generations: all scores and the best so far; the pool's scores and kinship."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evomerge.domain.kinship import Metric
from evomerge.domain.model import Model
from evomerge.report import palette
from evomerge.report.figure import Figure, Value, axes_grid, generations_axis
from evomerge.report.subject import Z95, Subject
from evomerge.report.wording import elided, estimates_line
from evomerge.terminal import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


def best_so_far(subject: Subject) -> Figure:
    """Figures 3 and 6a of the paper: every scored model by generation, and the best so far."""
    state = subject.state
    scored = [model for model in state.models.values() if model.scores is not None]
    tops = {step.best.name for step in subject.steps}
    rows: list[tuple[Value, ...]] = [
        (
            model.generation,
            model.name,
            model.kind,
            model.score,
            model.stderr,
            int(model.name in tops),
            model.perplexity,
            model.kept_out,
        )
        for model in scored
    ]
    barred = any(model.stderr is not None for model in scored)
    bars = (
        "Bars are 95 % intervals (1.96 standard errors, tasks taken as independent)."
        if barred
        else "There are no error bars: no standard errors were recorded."
    )
    best = state.best
    return Figure(
        name="best-so-far",
        title="Every model by generation, and the best so far",
        caption=f"{bars} The best of many noisy scores is biased upward: the more models were "
        "scored, the larger the bias.",
        alt=f"scores by generation; the best is {best.name if best else 'not known'}",
        columns=(
            "generation",
            "model",
            "kind",
            "score",
            "stderr",
            "best_so_far",
            "perplexity",
            "kept_out",
        ),
        rows=rows,
        size=(11.5, 4.6),
        paint=lambda canvas: _paint_best(canvas, subject, scored),
    )


def _paint_best(canvas: Canvas, subject: Subject, scored: list[Model]) -> None:
    axes = canvas.subplots()
    axes_grid(axes)
    generations_axis(axes, subject.state.generations[-1].number)
    axes.set_ylabel("score (points)")
    places = _places(scored)
    for kind, look in palette.looks(subject.state).items():
        chosen = [model for model in scored if model.kind == kind]
        if not chosen:
            continue
        xs = [places[model.name] for model in chosen]
        ys = [model.score or 0.0 for model in chosen]
        errors = [model.stderr or 0.0 for model in chosen]
        if any(errors):
            bars = axes.vlines(
                xs,
                [y - Z95 * e for y, e in zip(ys, errors, strict=True)],
                [y + Z95 * e for y, e in zip(ys, errors, strict=True)],
                color=look.colour,
                alpha=0.5,
                linewidth=1.4,
            )
            bars.set_zorder(2)
        axes.scatter(
            xs,
            ys,
            s=42 if len(scored) <= 200 else 16,
            marker=look.marker,
            color=look.colour,
            edgecolors=palette.PAPER,
            linewidths=0.8,
            label=look.label,
            zorder=3,
        )
    _cross_kept_out(axes, scored, places)
    _draw_best_line(axes, subject, places)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=5, handletextpad=0.4)


def _cross_kept_out(axes: Axes, scored: list[Model], places: dict[str, float]) -> None:
    out = [model for model in scored if model.kept_out]
    if out:
        axes.scatter(
            [places[model.name] for model in out],
            [model.score or 0.0 for model in out],
            s=90,
            marker="x",
            color=palette.RED,
            linewidths=1.6,
            label="kept out by the guard",
            zorder=4,
        )


def _draw_best_line(axes: Axes, subject: Subject, places: dict[str, float]) -> None:
    steps = subject.steps
    if not steps:
        return
    xs = [step.generation for step in steps]
    ys = [step.best.score or 0.0 for step in steps]
    axes.plot(
        [*xs, xs[-1] + 0.5],
        [*ys, ys[-1]],
        drawstyle="steps-post",
        color=palette.INK,
        linewidth=1.6,
        label="best so far",
        zorder=1.5,
    )
    best = steps[-1].best
    axes.annotate(
        f"{elided(best.name, 24)}  {figures.points(best.score)}",
        (places[best.name], best.score or 0.0),
        xytext=(0, 14),
        textcoords="offset points",
        ha="right" if best.generation > xs[-1] / 2 else "left",
        va="bottom",
        fontsize=9.5,
        fontweight="bold",
    )
    axes.margins(y=0.14)


def _places(models: list[Model]) -> dict[str, float]:
    """The x position of every model; models of one generation are side by side."""
    places: dict[str, float] = {}
    by_generation: dict[int, list[Model]] = {}
    for model in models:
        by_generation.setdefault(model.generation, []).append(model)
    for generation, born in by_generation.items():
        step = min(0.11, 0.7 / len(born))
        for place, model in enumerate(born):
            places[model.name] = generation + (place - (len(born) - 1) / 2) * step
    return places


def pool_kinship(subject: Subject) -> Figure:
    """Figure 4 of the paper: scores, and below them the pool's mean kinship."""
    metric = subject.state.start.metric
    threshold, criterion = subject.saturation
    rows: list[tuple[Value, ...]] = [
        (
            s.generation,
            s.best.score,
            s.pool_score,
            s.pool_kinship,
            s.pool_kinship_error,
            " ".join(s.pool),
        )
        for s in subject.steps
    ]
    widths = (s.pool_kinship_error for s in subject.steps if s.pool_kinship_error)
    line = (
        f"The dashed line is this run's saturation threshold, {threshold:g}."
        if criterion
        else f"The dashed line, {threshold:g}, is the paper's early stop, which was not used here."
    )
    if metric is Metric.EUCLIDEAN:
        line = "A distance has no saturation threshold."
    return Figure(
        name="pool-kinship",
        title="Score and mean kinship of the pool",
        caption=f"Merges of closely related models gain little. {line} "
        f"Shaded: the saturation stage.{estimates_line(widths)}",
        alt="scores and mean kinship of the pool by generation",
        columns=(
            "generation",
            "best_score",
            "pool_score",
            "pool_kinship",
            "pool_kinship_error",
            "pool",
        ),
        rows=rows,
        size=(11.5, 4.8),
        paint=lambda canvas: _paint_pool(canvas, subject),
    )


def _paint_pool(canvas: Canvas, subject: Subject) -> None:
    upper, lower = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    steps, metric = subject.steps, subject.state.start.metric
    for axes in (upper, lower):
        axes_grid(axes)
        if subject.stages.saturation is not None:
            stage = subject.stages.saturation
            axes.axvspan(
                stage.first - 0.5, stage.last + 0.5, color=palette.YELLOW, alpha=0.12, lw=0
            )
    xs = [step.generation for step in steps]
    size = 5.0 if len(steps) <= 40 else 0.0
    upper.plot(
        xs,
        [s.best.score or 0.0 for s in steps],
        color=palette.INK,
        marker="o",
        ms=size,
        label="best",
    )
    upper.plot(
        xs,
        [step.pool_score for step in steps],
        color=palette.BLUE,
        marker="s",
        ms=size,
        ls="--",
        label="mean of the pool",
    )
    upper.set_ylabel("score (points)")
    upper.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2)
    known = [step for step in steps if step.pool_kinship is not None]
    lower.errorbar(
        [step.generation for step in known],
        [step.pool_kinship or 0.0 for step in known],
        [step.pool_kinship_error or 0.0 for step in known],
        color=palette.ORANGE,
        marker="D",
        ms=size,
    )
    if metric is not Metric.EUCLIDEAN:
        lower.axhline(subject.saturation[0], color=palette.MUTED, ls="--", lw=1)
        values = [step.pool_kinship or 0.0 for step in known]
        lower.set_ylim(min([0.0, *values]) - 0.06, 1.06)
    else:
        lower.set_ylim(bottom=0)
    lower.set_ylabel(f"kinship ({metric.value})")
    generations_axis(lower, subject.state.generations[-1].number)
