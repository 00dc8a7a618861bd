"""The page of `evomerge kinship --html`: heatmaps, each with a table of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from evomerge.domain.kinship import KinshipMatrix, Metric, pair
from evomerge.report.figure import Figure
from evomerge.report.page import render
from evomerge.views.kinship import kinship_view

Matrix = Sequence[Sequence[float | None]]

_SAYS = {
    "pcc": "Pearson correlation of the weight deltas: 1 is the same direction, 0 unrelated",
    "cosine": "Cosine of the weight deltas: 1 is the same direction, 0 unrelated",
    "cosine_abs": "Absolute cosine of the weight deltas, as in the public tool",
    "euclidean": "Euclidean distance of the weights: 0 is the same model",
}


def kinship_page(
    base: str,
    models: Sequence[str],
    parts: Mapping[str, Mapping[str, Matrix]],
    errors: Mapping[str, Mapping[str, Matrix]],
    notes: Sequence[str] = (),
) -> str:
    """A self-contained page.

    Args:
        parts: matrices by tensor group and metric; the group "" is the whole model.
        errors: likewise, half the widths of the intervals of estimates.
        notes: warnings, one sentence each.
    """
    sections = []
    for part, by_metric in parts.items():
        for metric, matrix in by_metric.items():
            widths = errors.get(part, {}).get(metric)
            kinship = KinshipMatrix(
                Metric.EUCLIDEAN if metric == "euclidean" else Metric.COSINE,
                dict(_by_pair(models, matrix)),
                dict(_by_pair(models, widths)) if widths else {},
            )
            sections.append(_section(part, metric, models, kinship))
    return render("kinship.html", base=base, models=models, sections=sections, notes=notes)


def _by_pair(
    models: Sequence[str], matrix: Matrix
) -> Iterator[tuple[tuple[str, str], float | None]]:
    for i, j in combinations(range(len(models)), 2):
        yield pair(models[i], models[j]), matrix[i][j]


def _section(
    part: str, metric: str, models: Sequence[str], kinship: KinshipMatrix
) -> tuple[Figure, list[tuple[str, str, float | None, str]]]:
    from evomerge.report.charts.kinship import matrix

    title = f"{metric}, {part}" if part else metric
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in title.lower())
    figure = matrix(f"kinship-{slug}", title, _SAYS[metric], kinship_view(models, kinship))
    rows = [
        (a, b, kinship.between(a, b), _exact(kinship.between(a, b), kinship.error(a, b)))
        for a, b in combinations(models, 2)
    ]
    return figure, rows


def _exact(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "undefined"
    return f"~{value:.4g} ±{error:.2g}" if error else f"{value:.6g}"
