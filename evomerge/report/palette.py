"""Colour-blind-safe colours, one set for the light and one for the dark theme.

Charts are declared in the light colours. On a page each colour becomes the CSS variable of its
name (`figure`), so that figures follow the page's theme. Hues are those of Okabe and Ito (2008),
darkened or lightened for contrast on either background. `SCALE` and `CHANGES` are steps of a
sequential and a diverging scale: text in `INK` is readable on all but the last two steps (the two
ends), where it is in `PAPER`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from evomerge.domain.model import Colour

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

SCALE = (
    "#f1f4f7", "#dbe8f2", "#bfd8ea", "#9bc3df", "#6fa8d0", "#4189bd", "#1c669d", "#0a4675",
)  # fmt: skip
"""From the lowest to the highest value."""

CHANGES = ("#a8321d", "#e0937a", "#f5d9cd", "#eceff2", "#cfe4f4", "#8fc1e6", "#17639f")
"""From the largest loss over no change to the largest gain."""

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
    **dict(
        zip(
            SCALE,
            (
                "#1e262e",
                "#1f3040",
                "#213c52",
                "#244a67",
                "#28597d",
                "#2f6b97",
                "#6fb4e4",
                "#a9d7f6",
            ),
            strict=True,
        )
    ),
    **dict(
        zip(
            CHANGES,
            ("#f28b6e", "#8c4a38", "#4c322c", "#27303a", "#24455f", "#2c6a99", "#79c0f2"),
            strict=True,
        )
    ),
}

NAMES = {
    INK: "ink", MUTED: "muted", FAINT: "faint", GRID: "grid", PAPER: "paper", BLUE: "blue",
    ORANGE: "orange", GREEN: "green", PINK: "pink", SKY: "sky", YELLOW: "yellow", RED: "red",
    **{colour: f"scale-{step}" for step, colour in enumerate(SCALE)},
    **{colour: f"change-{step}" for step, colour in enumerate(CHANGES)},
}  # fmt: skip

SERIES = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)
"""Colours of arms, in this order; from the seventh arm on, lines also differ by dashes."""


class Look(NamedTuple):
    """Label, colour and shape of a kind of model; shapes also distinguish similar colours."""

    label: str
    colour: str
    shape: str


_SHAPES: Mapping[Colour, tuple[str, str]] = {
    "blue": (BLUE, "circle"),
    "orange": (ORANGE, "diamond"),
    "green": (GREEN, "cross"),
    "pink": (PINK, "triangle-up"),
    "sky": (SKY, "triangle-down"),
    "yellow": (YELLOW, "triangle-right"),
}
_FOUNDATION = Look("foundation model", MUTED, "square")
KEPT_OUT = Look("kept out by the guard", RED, "stroke")


def looks(kinds: Mapping[str, tuple[str, Colour]], occurring: Iterable[str]) -> dict[str, Look]:
    """The look of every kind that occurs; a neutral look for unknown kinds.

    Args:
        kinds: label and colour of the known kinds of merges.
    """
    found = {"foundation": _FOUNDATION}
    for kind in dict.fromkeys(occurring):
        if kind in kinds:
            label, colour = kinds[kind]
            found[kind] = Look(label, *_SHAPES[colour])
        elif kind != "foundation":
            found[kind] = Look(kind.replace("_", " "), MUTED, "triangle-left")
    return found


def variables(colours: Mapping[str, str] | None = None) -> str:
    """The palette as CSS declarations: the light palette, or the values of `colours`."""
    return "; ".join(
        f"--{name}: {(colours or {}).get(colour, colour)}" for colour, name in NAMES.items()
    )
