"""The figure of weight changes per layer (Figure 7 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evomerge.report import palette
from evomerge.report.figure import Figure, axes_grid
from evomerge.report.subject import Subject
from evomerge.report.wording import elided

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


def weight_change(subject: Subject) -> Figure | None:
    """Weight changes by layer, for attention and MLP; None if they were not measured."""
    best = subject.state.best
    if best is None or not subject.changes:
        return None
    return Figure(
        name="weight-change",
        title=f"Weight change of {elided(best.name, 40)} against its parents, by layer",
        caption="Root mean square of the difference of weights, over the attention and the MLP "
        "weights of a layer: small if the child has nearly the weights of the parent. The grey "
        "line is the difference from the base model, for scale. Estimated from samples of the "
        "weights (to about 1 %).",
        alt="weight change of the best model against its parents, by layer",
        columns=("layer", "kind", "against", "rms"),
        rows=[(each.layer, each.kind, each.other, each.rms) for each in subject.changes],
        size=(11.5, 3.6),
        paint=lambda canvas: _paint(canvas, subject),
    )


def _paint(canvas: Canvas, subject: Subject) -> None:
    from matplotlib.ticker import MaxNLocator

    kinds = [kind for kind in ("attention", "mlp") if any(c.kind == kind for c in subject.changes)]
    base = subject.state.start.base.name
    others = list(dict.fromkeys(change.other for change in subject.changes if change.other != base))
    panels: list[Axes] = list(canvas.subplots(1, len(kinds), sharey=True, squeeze=False)[0])
    for axes, kind in zip(panels, kinds, strict=True):
        axes_grid(axes)
        axes.set_title({"attention": "attention", "mlp": "MLP"}[kind])
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for place, other in enumerate([*others, base]):
            chosen = [c for c in subject.changes if c.kind == kind and c.other == other]
            axes.plot(
                [change.layer for change in chosen],
                [change.rms for change in chosen],
                color=palette.FAINT if other == base else palette.SERIES[place % 6],
                ls="-" if other == base else ("-", "--", ":")[place % 3],
                marker=None if other == base else "os^Dv"[place % 5],
                ms=4.5,
                label="the base model" if other == base else elided(other, 28),
            )
        axes.set_ylim(bottom=0)
    panels[0].set_ylabel("RMS change of a weight")
    panels[0].legend(loc="lower left", bbox_to_anchor=(-0.01, 1.08), ncols=3)
