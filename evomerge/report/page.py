"""Pages: one file that needs no network and no script, readable in light and dark."""

from __future__ import annotations

from functools import cache
from inspect import isroutine
from typing import TYPE_CHECKING, Any

from evomerge import __version__
from evomerge.report import palette

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, /, **context: Any) -> str:
    """The page of a template of this package; whatever stands in `context` is escaped.

    A template extends `base.html` and fills its blocks `title`, `header` and `content`. A drawing
    is put in by `{{ shown(drawing) }}` from `figures.html`.
    """
    return environment().get_template(template).render(**context)


@cache
def environment() -> Environment:
    """The templates, escaping everything that is not markup of our own."""
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
    templates.filters["markup"] = Markup
    return templates


def _a_value(value: object) -> object:
    """What a template shows: `row.items` of a dict is its method, and never what was meant.

    Raises:
        TypeError: it is no value.
    """
    if isroutine(value):
        raise TypeError(f"a template shows {value!r}; write row['name']")
    return value
