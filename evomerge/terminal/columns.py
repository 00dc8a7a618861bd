"""Tables that show as many of their columns as fit, and never a wrapped line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from evomerge.terminal.figures import spelled

GAP = 2
"""Blank columns between two columns of a table."""


@dataclass(frozen=True)
class Column:
    """One column: its header and a cell for every row.

    Numbers are aligned right and are never cut; names may be, with an ellipsis.
    """

    header: str
    cells: tuple[Text, ...]
    justify: Literal["left", "right"] = "left"

    @property
    def width(self) -> int:
        """Terminal columns that the widest cell needs."""
        return max([cell_len(self.header), *(cell.cell_len for cell in self.cells)])


def words(header: str, cells: Iterable[str | Text]) -> Column:
    """A column of text."""
    return Column(header, _cells(cells))


def numbers(header: str, cells: Iterable[str | Text]) -> Column:
    """A column of numbers."""
    return Column(header, _cells(cells), justify="right")


class Fitted:
    """A table in the first of its variants that fits the width at hand.

    Where none fits, the last is shown with its texts cut.
    """

    def __init__(self, *variants: Sequence[Column]) -> None:
        self._variants = variants

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _table(self._chosen(options.max_width), options.max_width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = min(_width(self._chosen(options.max_width)), options.max_width)
        return Measurement(width, width)

    def _chosen(self, width: int) -> Sequence[Column]:
        fitting = (variant for variant in self._variants if _width(variant) <= width)
        return next(fitting, self._variants[-1])


def _cells(cells: Iterable[str | Text]) -> tuple[Text, ...]:
    return tuple(cell if isinstance(cell, Text) else spelled(cell) for cell in cells)


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def _table(columns: Sequence[Column], width: int) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for column, granted in zip(columns, _granted(columns, width), strict=True):
        table.add_column(
            spelled(column.header),
            width=granted,
            justify=column.justify,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def _granted(columns: Sequence[Column], width: int) -> list[int]:
    """Widths that sum up to `width` at most, taken from the widest texts first."""
    granted = [column.width for column in columns]
    excess = _width(columns) - width
    texts = [place for place, column in enumerate(columns) if column.justify == "left"]
    while excess > 0:
        widest = max(texts, key=lambda place: granted[place], default=None)
        if widest is None or granted[widest] <= 4:  # nothing sensible is left to cut
            break
        granted[widest] -= 1
        excess -= 1
    return granted
