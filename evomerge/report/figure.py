"""A figure: a chart that is declared once, with the data of its CSV.

The chart is a Vega-Lite specification, declared with Altair. From it come the interactive figure of
a page, the SVG and the PNG; vl-convert renders them without a browser or a network. It brings the
font of all text, Liberation Sans, so that the same data and libraries give the same bytes on every
machine.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evomerge.domain.errors import StoppedError
from evomerge.report import palette
from evomerge.store.atomic import make_folder, write_atomic

Row = Mapping[str, Any]

FONT = "Liberation Sans, Arial, sans-serif"
_SCALE = 2.0  # pixels of a PNG per pixel of a chart
_COLOURS = re.compile('"({})"'.format("|".join(palette.NAMES)))
_IDS = re.compile(r"(?<=id=\")(?:clip|gradient)\w*|(?<=url\(#)\w+")
_DECIMALS = re.compile(r"(\.\d\d)\d+")

CONFIG: Mapping[str, Any] = {
    "aria": False,  # a figure has one alternative text; labels of every mark would double its size
    "background": palette.PAPER,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "domainColor": palette.FAINT,
        "gridColor": palette.GRID,
        "labelColor": palette.MUTED,
        "labelFontSize": 11,
        "labelLimit": 180,
        "tickColor": palette.FAINT,
        "tickCount": 8,
        "titleColor": palette.MUTED,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
    },
    "axisTop": {"labelAngle": 0},
    "header": {"labelColor": palette.INK, "labelFontSize": 12, "title": None},
    "legend": {
        "labelColor": palette.INK,
        "labelFontSize": 12,
        "labelLimit": 320,
        "gradientLength": 360,
        "gradientThickness": 12,
        "orient": "top",
        "symbolOpacity": 1,
        "titleColor": palette.MUTED,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titleOrient": "left",
    },
    "scale": {"invalid": {"color": {"value": palette.GRID}}},
    "text": {"color": palette.INK, "fontSize": 11},
    "rule": {"color": palette.FAINT},
    "line": {"color": palette.INK},
}


@dataclass(frozen=True)
class Figure:
    """A figure and its data.

    Attributes:
        name: file name and HTML id: lower-case letters, digits and hyphens.
        title: one line.
        caption: plain text on how to read the figure.
        alt: alternative text for screen readers.
        chart: an Altair chart; notebooks show it.
        rows: the rows of the CSV, which have the same keys; None for unknown values.
        fluid: whether a page fits the chart's width to the window; else it scrolls in its frame.
    """

    name: str
    title: str
    caption: str
    alt: str
    chart: Any
    rows: Sequence[Row]
    fluid: bool = True

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification in light colours."""
        # Altair checked the parts when they were declared.
        return {**self.chart.to_dict(validate=False), "description": self.alt}

    def svg(self) -> str:
        """The figure as SVG in light colours, with ids that no other figure has."""
        return self._svg

    @cached_property
    def _svg(self) -> str:  # a file and a page show the same one
        import vl_convert

        drawn: str = vl_convert.vegalite_to_svg(self.spec)
        # Vega numbers ids in the order of all that a process draws.
        places = {found: place for place, found in enumerate(dict.fromkeys(_IDS.findall(drawn)))}
        return _IDS.sub(lambda found: f"{self.name}-{places[found[0]]}", drawn) + "\n"

    def png(self) -> bytes:
        """The figure as PNG in light colours."""
        import vl_convert

        drawn: bytes = vl_convert.vegalite_to_png(self.spec, scale=_SCALE)
        return drawn

    def csv(self) -> str:
        """The data as CSV."""
        return as_csv(self.rows)

    def files(self) -> Mapping[str, bytes]:
        """File names and contents."""
        return {
            f"{self.name}.svg": self.svg().encode(),
            f"{self.name}.png": self.png(),
            f"{self.name}.csv": self.csv().encode(),
        }

    def themed_svg(self) -> str:
        """The SVG for a page: colours are CSS variables."""
        return _COLOURS.sub(_variable, _DECIMALS.sub(r"\1", self.svg()))

    def themed_spec(self) -> str:
        """The specification for a page's script element: JSON without any markup."""
        spec = {**self.spec, "config": {**self.spec["config"], "background": None}}
        text = json.dumps(spec, ensure_ascii=False, separators=(",", ":"))
        text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("&", "\\u0026")
        return _COLOURS.sub(_variable, text)


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV with `\\n` line endings; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@cache
def scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which defines `vegaEmbed`.

    Bundling takes two seconds, so the script is kept in the user's cache folder, if there is one.
    """
    kept = _cache() / f"vega-{version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return kept.read_text(encoding="utf-8")
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    bundle = bundle.replace("</script", "<\\/script")
    with contextlib.suppress(OSError, StoppedError):
        make_folder(kept.parent)
        write_atomic(kept, bundle.encode())
    return bundle


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evomerge"


def _variable(match: re.Match[str]) -> str:
    return f'"var(--{palette.NAMES[match[1]]})"'
