"""Tables that show as many columns as fit, without wrapping lines."""

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
"""Spaces between two columns of a table."""


@dataclass(frozen=True)
class Column:
    """One column: its header and one cell per row.

    Numbers are right-aligned and never truncated; text may be truncated with an ellipsis.
    """

    header: str
    cells: tuple[Text, ...]
    justify: Literal["left", "right"] = "left"

    @property
    def width(self) -> int:
        """Width of the widest cell in terminal columns."""
        return max([cell_len(self.header), *(cell.cell_len for cell in self.cells)])


def words(header: str, cells: Iterable[str | Text]) -> Column:
    """A column of text."""
    return Column(header, _cells(cells))


def numbers(header: str, cells: Iterable[str | Text]) -> Column:
    """A column of numbers."""
    return Column(header, _cells(cells), justify="right")


class Fitted:
    """A table shown as the first of its variants that fits the available width.

    If no variant fits, the last one is shown with truncated text.
    """

    def __init__(self, *variants: Sequence[Column]) -> None:
        self._variants = variants

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of the widest variant, for a page."""
        return self._variants[0]

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
    """Column widths that sum to at most `width`; the widest text columns shrink first."""
    granted = [column.width for column in columns]
    excess = _width(columns) - width
    texts = [place for place, column in enumerate(columns) if column.justify == "left"]
    while excess > 0:
        widest = max(texts, key=lambda place: granted[place], default=None)
        if widest is None or granted[widest] <= 4:  # too narrow to truncate further
            break
        granted[widest] -= 1
        excess -= 1
    return granted
