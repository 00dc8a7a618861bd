"""A figure and its files: SVG for pages and print, PNG, and CSV of its data.

Files are deterministic: the same data and libraries give the same bytes. No display is needed.
"""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from evomerge.report import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_DPI = 144
_PNG = "data:image/png;base64,"
_DECIMALS = re.compile(r"(\.\d\d)\d+")
_COLOURS = re.compile("|".join(palette.NAMES))

Value = str | float | None


Links = Mapping[str, str]
"""Anchors of the page that a click on an artist goes to, by the artist's `gid`."""


@dataclass(frozen=True)
class Figure:
    """A figure to be drawn, and its data.

    Attributes:
        name: file name and HTML id: lower-case letters and hyphens.
        title: one line.
        caption: plain text on how to read the figure.
        alt: alternative text for screen readers.
        columns: headers of the CSV; `rows` in the same order, None for unknown values.
        paint: draws on a canvas of `size` inches with the colours of `palette`.
    """

    name: str
    title: str
    caption: str
    alt: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Value]]
    size: tuple[float, float]
    paint: Callable[[Canvas], Links | None]


@dataclass(frozen=True)
class Drawing:
    """A figure as files: colours in `svg` are CSS variables, light colours are the fallback."""

    figure: Figure
    svg: str
    png: bytes
    csv: str

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg

    def files(self) -> Mapping[str, bytes]:
        """File names and contents."""
        name = self.figure.name
        head = b'<?xml version="1.0" encoding="utf-8"?>\n'
        return {
            f"{name}.svg": head + self.svg.encode(),
            f"{name}.png": self.png,
            f"{name}.csv": self.csv.encode(),
        }


def draw(figure: Figure, *, png: bool = True) -> Drawing:
    """Draw a figure; without `png` the PNG, which takes longest, is left empty."""
    from matplotlib.figure import Figure as Canvas

    with _style(figure.name):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        links = figure.paint(canvas) or {}
        vector, raster = io.BytesIO(), io.BytesIO()
        canvas.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
        if png:
            canvas.savefig(raster, format="png", dpi=_DPI, metadata={"Software": None})
    svg = _for_a_page(vector.getvalue().decode(), figure, links)
    return Drawing(figure, svg, raster.getvalue(), as_csv(figure.columns, figure.rows))


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """A table as CSV with `\\n` line endings; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def axes_grid(axes: Axes, axis: Literal["both", "x", "y"] = "y") -> None:
    """Draw grid lines along `axis`, without a box."""
    axes.grid(visible=True, axis=axis, color=palette.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def generations_axis(axes: Axes, last: int) -> None:
    """Label the x axis with integer generations."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.set_xlim(-0.6, last + 0.6)
    axes.set_xlabel("generation")


@contextmanager
def _style(salt: str) -> Iterator[None]:
    import matplotlib as mpl

    style: dict[str, Any] = {
        "axes.edgecolor": palette.FAINT,
        "axes.facecolor": "none",
        "axes.labelcolor": palette.MUTED,
        "axes.labelsize": 10,
        "axes.titlecolor": palette.INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "figure.facecolor": palette.PAPER,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "legend.labelcolor": palette.INK,
        "savefig.facecolor": palette.PAPER,
        "svg.fonttype": "none",
        "svg.hashsalt": f"evomerge {salt}",
        "text.color": palette.INK,
        "text.parse_math": False,  # a model's name may contain dollar signs
        "xtick.color": palette.FAINT,
        "xtick.labelcolor": palette.MUTED,
        "xtick.labelsize": 9,
        "ytick.color": palette.FAINT,
        "ytick.labelcolor": palette.MUTED,
        "ytick.labelsize": 9,
    }
    with mpl.rc_context({**mpl.rcParamsDefault, **style, "backend": "agg"}):
        yield


def _for_a_page(svg: str, figure: Figure, links: Links) -> str:
    """The SVG of matplotlib with themed colours, links and ids that are unique on a page."""
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(svg)  # noqa: S314 - our own matplotlib output
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    _add_links(root, links)
    for element in root.iter():
        _rename(element, f"{figure.name}-")
        _shorten(element)
        style = element.get("style")
        if style is not None:
            element.set("style", _COLOURS.sub(_variable, style))
    width, height = (float(root.get(side, "0").removesuffix("pt")) for side in ("width", "height"))
    root.set("width", f"{width * 4 / 3:.0f}")
    root.set("height", f"{height * 4 / 3:.0f}")
    root.set("role", "img")
    root.set("aria-label", figure.alt)
    return ET.tostring(root, encoding="unicode") + "\n"


def _shorten(element: ET.Element) -> None:
    """Round coordinates to 0.01 pt and use palette images, for a third of the size."""
    for key in ("d", "x", "y"):
        value = element.get(key)
        if value is not None:
            element.set(key, _DECIMALS.sub(r"\1", value))
    picture = element.get(f"{{{XLINK}}}href", "")
    if element.tag == f"{{{SVG}}}image" and picture.startswith(_PNG):
        from PIL import Image

        image = Image.open(io.BytesIO(b64decode(picture.removeprefix(_PNG))))
        if (colours := image.getcolors(256)) is None:
            return
        packed = io.BytesIO()
        image.quantize(len(colours), method=Image.Quantize.FASTOCTREE).save(packed, "png")
        element.set(f"{{{XLINK}}}href", _PNG + b64encode(packed.getvalue()).decode())


def _variable(match: re.Match[str]) -> str:
    return f"var(--{palette.NAMES[match[0]]}, {match[0]})"


def _rename(element: ET.Element, prefix: str) -> None:
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, prefix + value)
        elif key == f"{{{XLINK}}}href" and value.startswith("#") and element.tag != f"{{{SVG}}}a":
            element.set(key, f"#{prefix}{value[1:]}")
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{prefix}"))


def _add_links(root: ET.Element, links: Links) -> None:
    parents = {child: parent for parent in root.iter() for child in parent}
    by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
    for gid, target in links.items():
        element = by_id[gid]
        parent = parents[element]
        anchor = ET.Element(f"{{{SVG}}}a", {f"{{{XLINK}}}href": target})
        parent[list(parent).index(element)] = anchor
        anchor.append(element)
