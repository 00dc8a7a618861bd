"""Colour-blind-safe colours, one set for the light and one for the dark theme.

Figures are drawn once, in the light colours. In an SVG each colour then becomes a CSS variable
with the light colour as its fallback (`figure`), so that it follows the page's theme and is also
correct as a separate file. Hues are those of Okabe and Ito (2008), darkened or lightened for
contrast on either background; sequential maps are cividis and viridis (matplotlib).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from evomerge.domain.model import Colour
from evomerge.domain.state import RunState
from evomerge.strategies import merge_kinds

INK = "#1b2129"
MUTED = "#5b6672"
FAINT = "#aab3bd"
GRID = "#e3e7ec"
PAPER = "#fefefe"
BLUE = "#0069a8"
ORANGE = "#c65102"
GREEN = "#00805e"
PINK = "#a9488a"
SKY = "#3a96cf"
YELLOW = "#a87900"
RED = "#b3261e"

DARK = {
    INK: "#e6eaef",
    MUTED: "#9aa7b4",
    FAINT: "#5d6875",
    GRID: "#2b333d",
    PAPER: "#171c22",
    BLUE: "#5cb3ee",
    ORANGE: "#f59142",
    GREEN: "#34c79a",
    PINK: "#e08cc4",
    SKY: "#8fd0f7",
    YELLOW: "#e5b93c",
    RED: "#ff8a80",
}

NAMES = {
    INK: "ink", MUTED: "muted", FAINT: "faint", GRID: "grid", PAPER: "paper", BLUE: "blue",
    ORANGE: "orange", GREEN: "green", PINK: "pink", SKY: "sky", YELLOW: "yellow", RED: "red",
}  # fmt: skip

SERIES = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)
"""Colours of arms, in this order; from the seventh arm on, lines also differ by dashes."""


class Look(NamedTuple):
    """Label, colour and marker of a kind of model; markers also distinguish similar colours."""

    label: str
    colour: str
    marker: str


_MARKERS: Mapping[Colour, tuple[str, str]] = {
    "blue": (BLUE, "o"),
    "orange": (ORANGE, "D"),
    "green": (GREEN, "P"),
    "pink": (PINK, "^"),
    "sky": (SKY, "v"),
    "yellow": (YELLOW, "X"),
}
_FOUNDATION = Look("foundation model", MUTED, "s")

SCORES = "viridis"
KINSHIP = "cividis"


def looks(state: RunState) -> dict[str, Look]:
    """The look of every kind of model in a run; a neutral look for unknown kinds."""
    known = merge_kinds(state.start)
    found = {}
    for kind in dict.fromkeys(model.kind for model in state.models.values()):
        described = known.get(kind)
        found[kind] = (
            Look(described.label, *_MARKERS[described.colour])
            if described
            else Look(kind.replace("_", " "), MUTED, "d")
        )
    return {**found, "foundation": _FOUNDATION}


def variables(colours: dict[str, str] | None = None) -> str:
    """The palette as CSS declarations: the light palette, or the values of `colours`."""
    return "; ".join(
        f"--{name}: {(colours or {}).get(colour, colour)}" for colour, name in NAMES.items()
    )


def readable_on(red: float, green: float, blue: float) -> str:
    """Black or white, whichever has more contrast (WCAG) to a colour in sRGB from 0 to 1."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (red, green, blue)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
