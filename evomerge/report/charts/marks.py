"""What charts have in common: data, the selected model, kinds of models, tooltips."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

import altair as alt

from evomerge.domain.model import Colour
from evomerge.report import palette
from evomerge.report.figure import CONFIG, Row
from evomerge.views.models import ModelRow
from evomerge.views.run import RunView

WIDTH = 1040
"""The width of a chart in files; pages fit it to the window."""

CHOSEN = "datum.model === selected"
NONE_CHOSEN = "selected === ''"


def data(rows: Iterable[Row]) -> alt.InlineData:
    """Rows as the data of a chart, without unknown values, which a tooltip would show as 0."""
    return alt.InlineData(
        values=[{key: value for key, value in row.items() if value is not None} for row in rows]
    )


def finished(chart: Any, *, height: int | None = None, width: int | None = WIDTH) -> Any:
    """A chart with its size, the parameter `selected`, and the style of all charts."""
    sizes = {"width": width, "height": height}
    sized = chart.properties(**{key: size for key, size in sizes.items() if size is not None})
    sized = sized.add_params(alt.param(name="selected", value=""))
    sized.config = dict(CONFIG)
    return sized


def faded(full: float = 1.0, faint: float = 0.15) -> Any:
    """The opacity of marks of models: all but the selected one fade."""
    return alt.condition(f"{NONE_CHOSEN} || {CHOSEN}", alt.value(full), alt.value(faint))


def outlined(otherwise: str = palette.PAPER) -> Any:
    """The stroke of marks of models: the selected one is outlined."""
    return alt.condition(CHOSEN, alt.value(palette.INK), alt.value(otherwise))


def quoted(text: str) -> str:
    """A text as a literal of Vega's expressions."""
    return json.dumps(text)


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """A tooltip by fields: the title, and after a `|` the number format."""
    tips = []
    for field, told in fields.items():
        title, _, number = told.partition("|")
        kind = "quantitative" if number else "nominal"
        tips.append(
            alt.Tooltip(
                field=field, type=cast("Any", kind), title=title, format=number or alt.Undefined
            )
        )
    return tips


def looks_of(view: RunView) -> dict[str, palette.Look]:
    """The looks of the kinds of models of a run."""
    kinds = cast("Mapping[str, tuple[str, Colour]]", view.kinds)
    return palette.looks(kinds, (model.kind for model in view.models))


def kind_of(model: ModelRow, looks: Mapping[str, palette.Look]) -> str:
    """The label of a model's kind in legends."""
    return palette.KEPT_OUT.label if model.status == "kept out" else looks[model.kind].label


def kind_scales(
    looks: Mapping[str, palette.Look], labels: Iterable[str]
) -> tuple[alt.Scale, alt.Scale]:
    """The scales of colours and shapes over the labels that occur."""
    wanted = set(labels)
    found = [look for look in (*looks.values(), palette.KEPT_OUT) if look.label in wanted]
    domain = [look.label for look in found]
    return (
        alt.Scale(domain=domain, range=[look.colour for look in found]),
        alt.Scale(domain=domain, range=[look.shape for look in found]),
    )


def interval(value: float | None, error: float | None) -> tuple[float | None, float | None]:
    """The ends of a value's interval; None where unknown."""
    return (None, None) if value is None or error is None else (value - error, value + error)
