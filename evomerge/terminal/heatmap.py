"""A kinship matrix in the terminal: numbers on shaded cells, legible without colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from evomerge.domain.kinship import Metric
from evomerge.terminal import figures
from evomerge.terminal.figures import MISSING, printable

_SHADES = ("#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#084594")
"""ColorBrewer's sequential blues, which are safe for all kinds of colour vision."""


Matrix = Sequence[Sequence[float | None]]


def heatmap(
    title: str, metric: str, models: Sequence[str], matrix: Matrix, errors: Matrix | None = None
) -> Group:
    """The lower triangle under its title; the header numbers the models to stay narrow.

    Darker means more similar for similarities and more distant for `euclidean`. Estimates are
    marked; up to a dozen models their intervals are shown too.

    Args:
        errors: half the widths of the intervals of estimates, None elsewhere.
    """
    largest = max((v for row in matrix for v in row if v is not None), default=0.0) or 1.0
    compact = len(models) > 12
    scale = largest if metric == "euclidean" else 1.0
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("model", no_wrap=True)
    for number in range(1, len(models) + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for i, name in enumerate(models):
        widths = [errors[i][j] if errors else None for j in range(i + 1)]
        cells = [
            _cell(value, scale, compact, metric, width)
            for value, width in zip(matrix[i], widths, strict=False)
        ]
        table.add_row(str(i + 1), printable(name), *cells)
    return headed(title, table)


def headed(title: str, table: Table) -> Group:
    """A table under its title, which wraps at the width of the terminal, not of the table."""
    return Group(Text(printable(title), style="italic", overflow="fold"), table)


def _cell(
    value: float | None, scale: float, compact: bool, metric: str, error: float | None
) -> Text:
    if value is None:
        return Text(MISSING)
    text = f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    if error and not compact:
        known = Metric.EUCLIDEAN if metric == "euclidean" else Metric.PCC
        text = figures.kinship(value, known, error)
    elif error:
        text = f"~{text}"
    if compact:  # thirty models have to fit a wide terminal
        text = text.replace("0.", ".", 1)
    return Text(text if compact else f" {text}", style=shaded(value / scale))


def shaded(share: float) -> str:
    """The style for a value at `share` (0 to 1) of the maximum: text on a shade of blue."""
    share = min(max(share, 0.0), 1.0)
    place = min(int(share * len(_SHADES)), len(_SHADES) - 1)
    return f"{'white' if place > len(_SHADES) // 2 else 'black'} on {_SHADES[place]}"
