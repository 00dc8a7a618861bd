"""Kinship matrices as heatmaps, and the page of `evomerge kinship --html`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from evomerge.analysis.clustering import cluster
from evomerge.domain.kinship import KinshipMatrix, Metric, pair
from evomerge.report import palette
from evomerge.report.figure import Figure, draw
from evomerge.report.page import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Matrix = Sequence[Sequence[float | None]]

CLUSTERED = 12
"""Larger matrices are ordered by clustering."""

_LONGEST_NAME = 28
_WITH_NUMBERS = 40
_SAYS = {
    "pcc": "Pearson correlation of the weight deltas: 1 is the same direction, 0 unrelated.",
    "cosine": "Cosine of the weight deltas: 1 is the same direction, 0 unrelated.",
    "cosine_abs": "Absolute cosine of the weight deltas, as in the public tool.",
    "euclidean": "Euclidean distance of the weights: 0 is the same model.",
}


def heatmap(
    title: str,
    metric: str,
    models: Sequence[str],
    matrix: Matrix,
    errors: Matrix | None = None,
    *,
    titled: bool = False,
) -> Figure:
    """The heatmap of a symmetric matrix [models][models]; None is shown as undefined.

    Args:
        errors: half the widths of the intervals of estimates, which are marked; None elsewhere.
        titled: draw the title into the image too, for use outside a page.
    """
    order = _order(metric, models, matrix)
    values = [[matrix[i][j] for j in order] for i in order]
    names = [models[i] for i in order]
    widths = [[errors[i][j] if errors else None for j in order] for i in order]
    undefined = sum(matrix[i][j] is None for i in range(len(models)) for j in range(i))
    caption = _SAYS.get(metric, "")
    if len(models) > CLUSTERED:
        caption += " Ordered by average-linkage clustering."
    if undefined:
        caption += f" A dash is undefined ({undefined} of the pairs)."
    caption += estimates_line(error for row in widths for error in row if error)
    side = max(3.0, 0.45 * len(models) + 0.6)
    margin = 0.085 * max(len(_short(name)) for name in names)
    return Figure(
        name=f"kinship-{_slug(title)}-{metric.replace('_', '-')}",
        title=title,
        caption=caption.strip(),
        alt=f"{metric} of {len(models)} models as a heatmap; the values are in the table",
        columns=("a", "b", metric, "error"),
        rows=[
            (names[i], names[j], values[i][j], widths[i][j])
            for i in range(len(names))
            for j in range(i + 1, len(names))
        ],
        size=(side + margin + 1.1, side + 0.3),
        paint=lambda canvas: _paint(canvas, title if titled else "", metric, names, values, widths),
    )


def estimates_line(errors: Iterable[float]) -> str:
    """What a caption says of estimates; empty without any."""
    widest = max(errors, default=0.0)
    if not widest:
        return ""
    return (
        " ~ is estimated from stored samples of the weights, by no more than "
        f"±{widest:.2g} (95 of 100 lie within); `evomerge kinship RUN --exact` measures."
    )


def _paint(
    canvas: Canvas,
    title: str,
    metric: str,
    names: Sequence[str],
    values: Matrix,
    widths: Matrix,
) -> None:
    import matplotlib as mpl
    import numpy as np

    axes = canvas.add_subplot()
    if title:
        canvas.suptitle(title, x=0.01, ha="left", fontsize=11, wrap=True)
    shown = np.array(
        [[math.nan if value is None else value for value in row] for row in values], np.float64
    )
    distance = metric == "euclidean"
    low = 0.0 if distance else min(0.0, float(np.nanmin(shown, initial=0.0)))
    high = float(np.nanmax(shown, initial=0.0)) or 1.0 if distance else 1.0
    # More similar pairs are brighter under every metric.
    colours = mpl.colormaps[palette.KINSHIP + ("_r" if distance else "")]
    axes.set_facecolor(palette.GRID)
    edges = np.arange(len(names) + 1) - 0.5
    mesh = axes.pcolormesh(
        edges, edges, np.ma.masked_invalid(shown), cmap=colours, vmin=low, vmax=high,
        edgecolors=palette.PAPER, linewidth=1 if len(names) <= _WITH_NUMBERS else 0,
    )  # fmt: skip
    if len(names) <= _WITH_NUMBERS:
        _write_numbers(axes, values, widths, lambda value: colours((value - low) / (high - low)))
    axes.set_aspect("equal")
    axes.invert_yaxis()
    places = [str(place) for place in range(1, len(names) + 1)]
    axes.set_xticks(range(len(names)), places)
    labels = [f"{_short(name)}\u2003{place}" for name, place in zip(names, places, strict=True)]
    axes.set_yticks(range(len(names)), labels)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = canvas.colorbar(mesh, ax=axes, shrink=0.6, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def _write_numbers(axes: Axes, values: Matrix, widths: Matrix, colour: object) -> None:
    size = 8 if len(values) <= 30 else 7
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            ink, text = palette.MUTED, ("~" if widths[i][j] else "") + number(value)
            if value is not None and callable(colour):
                ink = palette.readable_on(*colour(value)[:3])
            axes.text(j, i, text, ha="center", va="center", fontsize=size, color=ink)


def number(value: float | None) -> str:
    """A value formatted for a narrow cell; a dash if it is undefined."""
    if value is None:
        return "–"
    if abs(value) >= 10:
        return f"{value:.3g}"
    return f"{value:.2f}".replace("-0.00", "0.00")


def _order(metric: str, models: Sequence[str], matrix: Matrix) -> list[int]:
    if len(models) <= CLUSTERED:
        return list(range(len(models)))
    known = Metric.EUCLIDEAN if metric == "euclidean" else Metric.COSINE
    kinship = KinshipMatrix(
        known,
        {pair(models[i], models[j]): matrix[i][j] for i in range(len(models)) for j in range(i)},
    )
    place = {name: index for index, name in enumerate(models)}
    return [place[name] for name in cluster(models, kinship).order]


def _short(name: str) -> str:
    """The beginning and the end of a name, where versions usually are."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = _LONGEST_NAME // 2
    return f"{name[:half]}…{name[1 - half :]}"


def _slug(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower()).strip("-")


def kinship_png(
    base: str, metric: str, models: Sequence[str], matrix: Matrix, errors: Matrix | None = None
) -> bytes:
    """One matrix as a PNG."""
    title = f"{metric} over {base}"
    return draw(heatmap(title, metric, models, matrix, errors, titled=True)).png


def kinship_page(
    base: str,
    models: Sequence[str],
    parts: Mapping[str, Mapping[str, Matrix]],
    errors: Mapping[str, Mapping[str, Matrix]],
    notes: Sequence[str] = (),
) -> str:
    """A self-contained page of heatmaps, each with a table of its values.

    Args:
        parts: matrices by tensor group and metric; the group "" is the whole model.
        errors: likewise, half the widths of the intervals of estimates.
        notes: warnings, one sentence each.
    """
    sections = []
    for part, by_metric in parts.items():
        for metric, matrix in by_metric.items():
            title = f"{metric}, {part}" if part else metric
            widths = errors.get(part, {}).get(metric)
            figure = heatmap(title, metric, models, matrix, widths)
            sections.append((draw(figure, png=False), _rows(models, matrix, widths)))
    return render(
        "kinship.html", base=base, models=models, sections=sections, notes=notes, number=_exact
    )


def _rows(
    models: Sequence[str], matrix: Matrix, widths: Matrix | None
) -> list[tuple[str, str, float | None, float | None]]:
    count = len(models)
    return [
        (models[i], models[j], matrix[i][j], widths[i][j] if widths else None)
        for i in range(count)
        for j in range(i + 1, count)
    ]


def _exact(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "undefined"
    return f"~{value:.4g} ±{error:.2g}" if error else f"{value:.6g}"
