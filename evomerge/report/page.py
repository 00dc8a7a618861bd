"""HTML pages: one self-contained file, readable without scripts, in light and dark themes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from inspect import isroutine
from typing import TYPE_CHECKING, Any

from evomerge import __version__
from evomerge.report import palette

if TYPE_CHECKING:
    from jinja2 import Environment
    from rich.text import Text

    from evomerge.terminal.columns import Column

_CLASSES = {
    "bold": "strong", "dim": "muted", "green": "up", "red": "down", "yellow": "doubt",
    "cyan": "exploration",
}  # fmt: skip
"""CSS classes by the words of a terminal's styles."""


def render(template: str, /, **context: Any) -> str:
    """Render a template of this package; all values of `context` are escaped.

    A template extends `base.html` and fills its blocks `title`, `header` and `content`. It shows a
    drawing with `{{ shown(drawing) }}` and a terminal's table with `{{ tabled(table) }}`, both from
    `figures.html`.
    """
    return environment().get_template(template).render(**context)


@cache
def environment() -> Environment:
    """The Jinja2 environment, which escapes everything but our own markup."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(
        loader=PackageLoader("evomerge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_a_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(
        light=Markup(palette.variables()),  # noqa: S704 - constants
        dark=Markup(palette.variables(palette.DARK)),  # noqa: S704
        version=__version__,
    )
    templates.filters.update(markup=Markup, rows=_rows, looks=_looks)
    return templates


def _rows(columns: Sequence[Column]) -> Iterator[list[tuple[Column, Text]]]:
    """The rows of a terminal's table, each cell with its column."""
    for cells in zip(*(column.cells for column in columns), strict=True):
        yield list(zip(columns, cells, strict=True))


def _looks(cell: Text) -> str:
    """The CSS classes of a cell, each after a space."""
    return "".join(f" {_CLASSES[word]}" for word in str(cell.style).split() if word in _CLASSES)


def _a_value(value: object) -> object:
    """Reject methods as values: `row.items` of a dict is its method, not its key.

    Raises:
        TypeError: the value is callable.
    """
    if isroutine(value):
        raise TypeError(f"a template shows {value!r}; write row['name']")
    return value
