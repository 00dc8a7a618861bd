"""Figures as files: deterministic, themed, escaped."""

import xml.etree.ElementTree as ET

import pytest

from evomerge.report import palette
from evomerge.report.figure import Figure, axes_grid, draw

HOSTILE = "</svg><script>alert(1)</script> & $\\alpha_1$ “ü” \u0645"


def figure(name="sample"):
    def paint(canvas):
        axes = canvas.subplots()
        axes_grid(axes)
        axes.set_title(HOSTILE)
        axes.scatter([1, 2, 3], [3, 1, 2], color=palette.BLUE)
        line = axes.plot([1, 2, 3], [1, 2, 3], color=palette.ORANGE, gid="line")
        assert line
        return {"line": "#row"}

    return Figure(name, "T", "C", HOSTILE, ("x", "y"), [(1, None), (2.5, HOSTILE)], (4, 3), paint)


def test_the_same_data_give_the_same_bytes():
    assert draw(figure()).files() == draw(figure()).files()


def test_colours_of_the_svg_follow_the_page_and_work_without_one():
    svg = draw(figure()).svg
    assert f"var(--blue, {palette.BLUE})" in svg
    assert f"var(--muted, {palette.MUTED})" in svg
    for colour in palette.NAMES:
        assert svg.count(colour) == svg.count(f", {colour})"), "a colour escaped the theme"


def test_links_and_names_are_escaped_and_in_their_place():
    svg = draw(figure()).svg
    assert "<script" not in svg
    root = ET.fromstring(svg)
    space = {"s": "http://www.w3.org/2000/svg"}
    assert root.find(".//s:a/s:g[@id='sample-line']", space) is not None
    assert HOSTILE in [text.text for text in root.iterfind(".//s:text", space)]


def test_two_figures_on_a_page_share_no_id():
    def ids(name):
        root = ET.fromstring(draw(figure(name), png=False).svg)
        return {e.get("id") for e in root.iter() if e.get("id")}

    assert not ids("one") & ids("two")


def test_every_reference_leads_somewhere():
    root = ET.fromstring(draw(figure(), png=False).svg)
    ids = {e.get("id") for e in root.iter()}
    text = ET.tostring(root, encoding="unicode")
    used = {
        element.get("{http://www.w3.org/1999/xlink}href")[1:]
        for element in root.iter("{http://www.w3.org/2000/svg}use")
    }
    clipped = {part.split(")")[0] for part in text.split("url(#")[1:]}
    assert used
    assert clipped
    assert used | clipped <= ids


def test_the_csv_is_the_data():
    assert draw(figure(), png=False).csv.startswith("x,y\n1,\n2.5,")


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_in_both_themes(theme):
    def of(colour):
        return colour if theme == "light" else palette.DARK[colour]

    assert set(palette.DARK) == set(palette.NAMES)
    for colour in (palette.INK, palette.MUTED, palette.BLUE, palette.GREEN, palette.RED):
        assert contrast(of(colour), of(palette.PAPER)) >= 4.5, colour
    for colour in (*palette.SERIES, palette.FAINT):
        assert contrast(of(colour), of(palette.PAPER)) >= (3 if colour != palette.FAINT else 1.8)
