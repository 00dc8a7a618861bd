"""The kinship of all models as a clustered heatmap (Figure 5 of the paper)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from evomerge.analysis.clustering import Clustering, cluster
from evomerge.domain.kinship import KinshipMatrix, Metric
from evomerge.report import palette
from evomerge.report.figure import Figure, Value
from evomerge.report.matrix import Matrix, estimates_line
from evomerge.report.subject import Subject
from evomerge.report.wording import METRICS, elided, minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_VALUES = 26  # largest number of models with a number in every cell
_SHADES = 32
_NAMES = 70  # largest number of models with a name on every row


def heatmap(subject: Subject) -> Figure:
    """All scored models, ordered by clustering."""
    state, metric = subject.state, subject.state.start.metric
    measured = {name for pair, v in state.kinship.values.items() if v is not None for name in pair}
    scored = [model.name for model in state.models.values() if model.scores is not None]
    names = [name for name in scored if name in measured]
    widths = [
        error for a, b in combinations(names, 2) if (error := state.kinship.error(a, b)) is not None
    ]
    clustering = cluster(names, state.kinship)
    order = clustering.order
    rows: list[tuple[Value, ...]] = [
        (name, *(state.kinship.between(name, other) if name != other else None for other in order))
        for name in order
    ]
    pairs = len(names) * (len(names) - 1) // 2
    known = sum(state.kinship.between(a, b) is not None for a, b in combinations(names, 2))
    gaps = f" {pairs - known} of {pairs} pairs were not measured: grey." if known < pairs else ""
    if len(names) < len(scored):
        gaps += f" {len(scored) - len(names)} models of which no kinship is known are left out."
    side = min(10.0, max(4.2, 1.6 + 0.36 * len(names)))
    return Figure(
        name="kinship",
        title=f"Kinship of all models ({metric.value})",
        caption=f"{METRICS[metric].capitalize()}. Rows are ordered by average-linkage clustering, "
        "which places related models together; its dendrogram is above."
        f"{estimates_line(widths)}{gaps}",
        alt=f"kinship matrix of {len(names)} models",
        columns=("model", *order),
        rows=rows,
        size=(side + 1.4, side + 0.6),
        paint=lambda canvas: _paint(canvas, subject, clustering),
    )


def _paint(canvas: Canvas, subject: Subject, clustering: Clustering) -> None:
    import matplotlib as mpl
    import numpy as np
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    order, kinship = clustering.order, subject.state.kinship
    values = np.array(
        [[np.nan if a == b else _number(kinship, a, b) for b in order] for a in order], np.float64
    ).reshape(len(order), len(order))
    known = values[~np.isnan(values)]
    distance = kinship.metric is Metric.EUCLIDEAN
    low = 0.0 if known.size == 0 else min(0.0, float(known.min()))
    high = 1.0 if not distance else float(known.max()) if known.size else 1.0
    tree, axes = canvas.subplots(2, 1, height_ratios=(1, 9), sharex=True)
    tree.axis("off")
    joins = [list(zip(xs, ys, strict=True)) for xs, ys in clustering.links]
    tree.add_collection(
        LineCollection(joins, colors=palette.FAINT, linewidths=1.0 if len(order) <= _NAMES else 0.5)
    )
    tree.autoscale_view()
    if len(order) <= _NAMES:
        for place in range(len(order)):
            axes.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, fc=palette.PAPER, ec="none"))
    colours = mpl.colormaps[f"{palette.KINSHIP}_r" if distance else palette.KINSHIP]
    image = axes.imshow(
        values,
        # Fewer shades keep the page of a long run small.
        cmap=colours if len(order) <= _NAMES else colours.resampled(_SHADES),
        vmin=low,
        vmax=max(high, low + 1e-9),
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_facecolor(palette.GRID)
    for side in axes.spines.values():
        side.set_visible(False)
    bar = canvas.colorbar(image, ax=axes, shrink=0.6, aspect=25, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    _name_rows(axes, subject, order)
    if len(order) <= _VALUES:
        _write_values(axes, image, values, [[kinship.error(a, b) for b in order] for a in order])


def _number(kinship: KinshipMatrix, a: str, b: str) -> float:
    value = kinship.between(a, b)
    return float("nan") if value is None else value


def _name_rows(axes: Axes, subject: Subject, order: tuple[str, ...]) -> None:
    axes.tick_params(length=0)
    if len(order) > _NAMES:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(f"{len(order)} models")
        return
    size = 9 if len(order) <= _VALUES else 6.5
    best = subject.state.best
    axes.set_yticks(range(len(order)), [elided(name, 24) for name in order], fontsize=size)
    axes.set_xticks(
        range(len(order)), [elided(name, 24) for name in order], fontsize=size, rotation=90
    )
    looks = palette.looks(subject.state)
    for labels in (axes.get_yticklabels(), axes.get_xticklabels()):
        for name, label in zip(order, labels, strict=True):
            label.set_color(looks[subject.state.models[name].kind].colour)
            if best is not None and name == best.name:
                label.set_fontweight("bold")


def _write_values(axes: Axes, image: Any, values: Any, errors: Matrix) -> None:
    """Write the number into every cell.

    Args:
        values: float64, [models, models], NaN for unknown kinship.
        errors: of estimates; None for measured values.
    """
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if value == value:  # noqa: PLR0124 - not NaN
                red, green, blue, _ = image.cmap(image.norm(value))
                axes.text(
                    j,
                    i,
                    ("~" if errors[i][j] else "")
                    + (minus(value) if abs(value) < 10 else f"{value:.0f}"),
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=palette.readable_on(red, green, blue),
                )
