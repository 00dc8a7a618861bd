"""The kinship of several models as a clustered heatmap (Figure 5 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evomerge.analysis.clustering import Clustering, cluster
from evomerge.domain.kinship import KinshipMatrix, Metric
from evomerge.report import palette
from evomerge.report.figure import Figure, Value
from evomerge.report.subject import Subject
from evomerge.report.wording import METRICS, elided, estimates_line, minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_VALUES = 26  # largest number of models with a number in every cell
_SHADES = 32
_NAMES = 70  # largest number of models with a name on every row


def kinship_of_run(subject: Subject) -> Figure:
    """All scored models of which a kinship is known, names in the colours of their kinds."""
    state, metric = subject.state, subject.state.start.metric
    known = {name for pair, v in state.kinship.values.items() if v is not None for name in pair}
    scored = [model.name for model in state.models.values() if model.scores is not None]
    names = [name for name in scored if name in known]
    left_out = len(scored) - len(names)
    gaps = f" {left_out} models of which no kinship is known are left out." if left_out else ""
    looks = palette.looks(state)
    return heatmap(
        "kinship",
        f"Kinship of all models ({metric.value})",
        METRICS[metric].capitalize(),
        names,
        state.kinship,
        gaps,
        {name: looks[state.models[name].kind].colour for name in names},
        state.best.name if state.best else None,
    )


def heatmap(
    name: str,
    title: str,
    says: str,
    models: Sequence[str],
    kinship: KinshipMatrix,
    note: str = "",
    colours: Mapping[str, str] | None = None,
    best: str | None = None,
) -> Figure:
    """The kinship of `models`, ordered by clustering, with the dendrogram above.

    Args:
        says: what the numbers are, without a full stop.
        note: the end of the caption.
        colours: of the names.
        best: the name that is bold.
    """
    among = set(models)
    errors = (e for (a, b), e in kinship.errors.items() if e is not None and among >= {a, b})
    clustering = cluster(models, kinship)
    order = clustering.order
    table = kinship.table(order)
    pairs = len(order) * (len(order) - 1) // 2
    unknown = (sum(row.count(None) for row in table) - len(order)) // 2
    gaps = f" {unknown} of {pairs} pairs are not known or undefined: grey." if unknown else ""
    rows: list[tuple[Value, ...]] = [
        (one, *values) for one, values in zip(order, table, strict=True)
    ]
    side = min(10.0, max(4.2, 1.6 + 0.36 * len(models)))
    return Figure(
        name=name,
        title=title,
        caption=f"{says}. Rows are ordered by average-linkage clustering, which places related "
        f"models together; its dendrogram is above.{estimates_line(errors)}{gaps}{note}",
        alt=f"kinship matrix of {len(models)} models",
        columns=("model", *order),
        rows=rows,
        size=(side + 1.4, side + 0.6),
        paint=lambda canvas: _paint(canvas, clustering, table, kinship, colours or {}, best),
    )


def _paint(
    canvas: Canvas,
    clustering: Clustering,
    table: Sequence[Sequence[float | None]],
    kinship: KinshipMatrix,
    colours: Mapping[str, str],
    best: str | None,
) -> None:
    import matplotlib as mpl
    import numpy as np
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    order = clustering.order
    values = np.array(table, np.float64).reshape(len(order), len(order))
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
    # More similar pairs are brighter under every metric.
    shades = mpl.colormaps[f"{palette.KINSHIP}_r" if distance else palette.KINSHIP]
    image = axes.imshow(
        values,
        # Fewer shades keep the page of a long run small.
        cmap=shades if len(order) <= _NAMES else shades.resampled(_SHADES),
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
    _name_rows(axes, order, colours, best)
    if len(order) <= _VALUES:
        _write_values(axes, image, values, order, kinship)


def _name_rows(
    axes: Axes, order: Sequence[str], colours: Mapping[str, str], best: str | None
) -> None:
    axes.tick_params(length=0)
    if len(order) > _NAMES:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(f"{len(order)} models")
        return
    size = 9 if len(order) <= _VALUES else 6.5
    names = [elided(name, 24) for name in order]
    axes.set_yticks(range(len(order)), names, fontsize=size)
    axes.set_xticks(range(len(order)), names, fontsize=size, rotation=90)
    for labels in (axes.get_yticklabels(), axes.get_xticklabels()):
        for name, label in zip(order, labels, strict=True):
            label.set_color(colours.get(name, palette.INK))
            if name == best:
                label.set_fontweight("bold")


def _write_values(
    axes: Axes, image: Any, values: Any, order: Sequence[str], kinship: KinshipMatrix
) -> None:
    """Write the number into every cell.

    Args:
        values: float64, [models, models], NaN for unknown kinship.
    """
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if value == value:  # noqa: PLR0124 - not NaN
                red, green, blue, _ = image.cmap(image.norm(value))
                number = minus(value) if abs(value) < 10 else f"{value:.0f}"
                axes.text(
                    j,
                    i,
                    f"~{number}" if kinship.error(order[i], order[j]) else number,
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=palette.readable_on(red, green, blue),
                )
