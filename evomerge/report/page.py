"""HTML pages: one self-contained file, readable without scripts, in light and dark themes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from inspect import isroutine
from typing import TYPE_CHECKING, Any

from evomerge import __version__
from evomerge.report import palette
from evomerge.report.figure import scripts
from evomerge.terminal import figures
from evomerge.terminal.gains import probability

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

    A template extends `base.html`, fills its blocks `title`, `header` and `content`, and shows a
    figure with `{{ shown(figure) }}` from `figures.html`.
    """
    return environment().get_template(template).render(**context)


@cache
def environment() -> Environment:
    """The Jinja2 environment, which escapes everything but our own markup.

    Filters for numbers: `points` (a score, with half its 95 % interval), `signed` (a difference),
    `between` (an interval), `probability`, `counted` and `duration`.
    """
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
        scripts=scripts,
        stills=True,
        version=__version__,
    )
    templates.filters.update(
        markup=Markup,
        rows=_rows,
        looks=_looks,
        points=_points,
        signed=lambda value: figures.gain(value).replace("-", "−"),
        between=_between,
        probability=probability,
        counted=figures.count,
        duration=figures.duration,
    )
    return templates


def _rows(columns: Sequence[Column]) -> Iterator[list[tuple[Column, Text]]]:
    """The rows of a terminal's table, each cell with its column."""
    for cells in zip(*(column.cells for column in columns), strict=True):
        yield list(zip(columns, cells, strict=True))


def _looks(cell: Text) -> str:
    """The CSS classes of a cell, each after a space."""
    return "".join(f" {_CLASSES[word]}" for word in str(cell.style).split() if word in _CLASSES)


def _points(value: float | None, error: float | None = None) -> str:
    if value is None:
        return figures.MISSING
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.1f}"


def _between(each: Any) -> str:
    """The interval of a value with `low` and `high`: `[−1.0, +3.3]`."""
    return f"[{each.low:+.1f}, {each.high:+.1f}]".replace("-", "−")


def _a_value(value: object) -> object:
    """Reject methods as values: `row.items` of a dict is its method, not its key.

    Raises:
        TypeError: the value is callable.
    """
    if isroutine(value):
        raise TypeError(f"a template shows {value!r}; write row['name']")
    return value
