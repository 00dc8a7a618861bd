"""Figures as files: deterministic, themed, escaped."""

import json
import xml.etree.ElementTree as ET

import altair as alt
import pytest

from evomerge.report import palette
from evomerge.report.charts import figures_of
from evomerge.report.charts.marks import data, finished, tooltip
from evomerge.report.figure import Figure

HOSTILE = "</svg><script>alert(1)</script> & $\\alpha_1$ “ü” \u0645"
SVG = "{http://www.w3.org/2000/svg}"


def figure(name="sample"):
    rows = [{"x": 1.0, "y": None, "model": "a"}, {"x": 2.0, "y": 1.5, "model": HOSTILE}]
    chart = (
        alt.Chart(data(rows))
        .mark_point(clip=True, color=palette.BLUE)
        .encode(
            x="x:Q",
            y=alt.Y("model:N", axis=alt.Axis(labelLimit=900)),
            tooltip=tooltip(model="model", x="x|.1f"),
        )
    )
    return Figure(name, "T", "C", HOSTILE, finished(chart, height=80), rows)


def test_the_same_data_give_the_same_bytes():
    assert figure().files() == figure().files()
    assert figure().png().startswith(b"\x89PNG")


def test_colours_of_a_page_follow_its_theme_and_those_of_files_do_not():
    one = figure()
    assert 'stroke="var(--blue)"' in one.themed_svg()
    assert "var(--blue)" in one.themed_spec()
    for colour in palette.NAMES:
        assert f'"{colour}"' not in one.themed_svg() + one.themed_spec()
    assert palette.BLUE in one.svg()
    assert "var(" not in one.svg()


def test_names_are_escaped():
    one = figure()
    assert HOSTILE in [element.text for element in ET.fromstring(one.svg()).iter(f"{SVG}text")]
    assert "<" not in one.themed_spec()
    assert HOSTILE in json.dumps(json.loads(one.themed_spec()), ensure_ascii=False).replace(
        "\\\\", "\\"
    )


def test_two_figures_on_a_page_share_no_id_and_every_reference_leads_somewhere():
    def ids(name):
        text = figure(name).themed_svg()
        found = {e.get("id") for e in ET.fromstring(text).iter() if e.get("id")}
        used = {part.split(")")[0] for part in text.split("url(#")[1:]}
        assert used
        assert used <= found
        return found

    assert not ids("one") & ids("two")


def test_the_csv_is_the_data():
    assert figure().csv().startswith("x,y,model\n1.0,,a\n2.0,1.5,")


def test_every_chart_names_the_selected_model(paper, long):
    for subject in (paper, long):
        for name, one in figures_of(subject.view).items():
            assert {"name": "selected", "value": ""} in one.spec["params"], name


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
    for shade in (*palette.SCALE[:6], *palette.CHANGES[1:6]):
        assert contrast(of(palette.INK), of(shade)) >= 3.9, shade
    for shade in (*palette.SCALE[6:], palette.CHANGES[0], palette.CHANGES[6]):
        assert contrast(of(palette.PAPER), of(shade)) >= 4.5, shade
