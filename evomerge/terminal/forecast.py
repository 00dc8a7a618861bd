"""Predicted kinship in the terminal: children against models and one another, with error bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from evomerge.domain.kinship import Metric, PredictedKinship
from evomerge.terminal.figures import MISSING, printable
from evomerge.terminal.heatmap import headed, shaded

Lookup = Callable[[str, str], PredictedKinship | None]


def forecast_table(
    title: str, metric: Metric, models: Sequence[str], children: Sequence[str], between: Lookup
) -> Group:
    """A row for every model and child, a column for every child, numbered in the heading.

    `~0.872 ±.003` is predicted, `0.872` was measured after all, `? ±.12` is too uncertain to say,
    and a dash is undefined or cannot be predicted.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("model", no_wrap=True)
    for number in range(1, len(children) + 1):
        table.add_column(f"child {number}", justify="right", no_wrap=True)
    for name in models:
        table.add_row("", printable(name), *(cell(between(c, name), metric) for c in children))
    for number, name in enumerate(children, start=1):
        cells = (cell(between(other, name), metric) for other in children[: number - 1])
        table.add_row(str(number), printable(name), *cells)
    return headed(title, table)


def cell(one: PredictedKinship | None, metric: Metric) -> Text:
    """One estimate."""
    if one is None or (one.value is None and not one.error):
        return Text(MISSING)
    bar = f" ±{spread(one.error, metric)}" if one.predicted and one.error is not None else ""
    if one.value is None:
        return Text(f"?{bar}", style="dim")
    number = f"{one.value:.4g}" if metric is Metric.EUCLIDEAN else f"{one.value:.3f}"
    text = Text(f"{'~' if one.predicted else ''}{number}{bar}")
    if metric is not Metric.EUCLIDEAN:
        text.stylize(shaded(one.value))
    return text


def spread(error: float, metric: Metric) -> str:
    """A bar, rounded up so that it never looks smaller than it is: `.001`, `.02`."""
    if metric is Metric.EUCLIDEAN:
        digits = 1 - math.floor(math.log10(error)) if error > 0 else 0
        return f"{math.ceil(error * 10**digits) / 10**digits:g}"
    return (
        f"{math.ceil(error * 1000) / 1000:.3f}".removeprefix("0") if error < 1 else f"{error:.1f}"
    )
