"""Merge gain against the parents' kinship: Figure 2 and Table 1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evomerge.analysis.correlation import Correlation
from evomerge.analysis.merges import Merge
from evomerge.domain.kinship import Metric
from evomerge.report import palette
from evomerge.report.figure import Figure, Value, axes_grid
from evomerge.report.subject import Subject
from evomerge.report.wording import METRICS, correlation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


def kinship_and_gain(subject: Subject) -> Figure:
    """Scatter plots of the parents' kinship against gain, and against |gain|."""
    metric = subject.state.start.metric
    known = [merge for merge in subject.merges if metric in merge.kinship]
    rows: list[tuple[Value, ...]] = [
        (
            merge.generation,
            merge.model,
            merge.kind,
            " × ".join(merge.parents),
            *(merge.kinship.get(each) for each in Metric),
            merge.gain,
        )
        for merge in subject.merges
    ]
    plain, absolute = subject.series.correlations(metric.value)
    left_out = ""
    if subject.recorded is not None and subject.recorded.assumed_parents:
        names = ", ".join(subject.recorded.assumed_parents)
        left_out = f" {names}: left out, since the source does not name their parents."
    return Figure(
        name="kinship-gain",
        title="Kinship of the parents against merge gain",
        caption="Merge gain: score of the child minus the mean score of its parents. In brackets "
        "the 95 % bootstrap interval of Pearson's r. Over a run kinship grows and gains shrink, "
        f"so part of any correlation is due to time.{left_out}",
        alt=f"gain: {correlation(plain)}; absolute gain: {correlation(absolute)}",
        columns=("generation", "model", "kind", "parents", *(m.value for m in Metric), "gain"),
        rows=rows,
        size=(11.5, 4.2),
        paint=lambda canvas: _paint(canvas, subject, known, (plain, absolute)),
    )


def _paint(
    canvas: Canvas,
    subject: Subject,
    known: Sequence[Merge],
    found: tuple[Correlation, Correlation],
) -> None:
    metric = subject.state.start.metric
    canvas.supxlabel(
        f"kinship of the parents ({metric.value}: {METRICS[metric]})",
        fontsize=10,
        color=palette.MUTED,
    )
    axes: Sequence[Axes] = canvas.subplots(1, 2)
    for side, what in zip(axes, ("gain", "|gain|"), strict=True):
        axes_grid(side, "both")
        side.set_ylabel(f"{what} (points)")
        side.axhline(0, color=palette.FAINT, lw=1)
        for kind, look in palette.looks(subject.state).items():
            chosen = [merge for merge in known if merge.kind == kind]
            if not chosen:
                continue
            side.scatter(
                [merge.kinship[metric] for merge in chosen],
                [merge.gain if what == "gain" else abs(merge.gain) for merge in chosen],
                s=40,
                marker=look.marker,
                color=look.colour,
                alpha=0.85,
                edgecolors=palette.PAPER,
                linewidths=0.8,
                zorder=3,
                label=look.label,
            )
    canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    for side, each in zip(axes, found, strict=True):
        side.set_title(correlation(each), fontsize=10)
    kinship = [merge.kinship[metric] for merge in known]
    _trend(axes[0], kinship, [merge.gain for merge in known])
    _trend(axes[1], kinship, [abs(merge.gain) for merge in known])


def _trend(axes: Axes, xs: list[float], ys: list[float]) -> None:
    """Draw the least-squares line."""
    import numpy as np

    if len(set(xs)) < 3:
        return
    slope, height = np.polyfit(xs, ys, 1)
    ends = [min(xs), max(xs)]
    axes.plot(ends, [slope * x + height for x in ends], color=palette.MUTED, ls="--", lw=1.2)
