"""Kinship matrices as pictures and pages: readable, self-contained, undefined said."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from evomerge.report.figure import draw
from evomerge.report.matrix import heatmap, kinship_page, kinship_png, number


def family(count, groups=3):
    """Models named in turn, kin within each of the groups."""
    names = [f"model-{place}" for place in range(count)]
    matrix = [
        [1.0 if i == j else 0.9 if i % groups == j % groups else 0.1 for j in range(count)]
        for i in range(count)
    ]
    return names, matrix


def test_small_matrices_keep_their_order_and_large_ones_bring_kin_together():
    names, matrix = family(12)
    order = list(dict.fromkeys(row[0] for row in heatmap("pcc", "pcc", names, matrix).rows))
    assert order == names[:-1]
    names, matrix = family(18)
    figure = heatmap("pcc", "pcc", names, matrix)
    order = list(dict.fromkeys(name for row in figure.rows for name in row[:2]))
    kinds = [int(name.rpartition("-")[2]) % 3 for name in order]
    assert sum(a != b for a, b in pairwise(kinds)) == 2
    assert "clustering" in figure.caption
    for a, b, value, error in figure.rows:
        assert value == matrix[names.index(a)][names.index(b)]
        assert error is None


def test_estimates_are_marked():
    names, matrix = family(3)
    errors = [[None, None, 0.0042], [None, None, None], [0.0042, None, None]]
    figure = heatmap("pcc", "pcc", names, matrix, errors)
    assert "no more than ±0.0042" in figure.caption
    assert [error for *_, error in figure.rows] == [None, 0.0042, None]
    texts = [e.text for e in ET.fromstring(draw(figure, png=False).svg).iter() if e.text]
    assert texts.count(f"~{matrix[0][2]:.2f}") == 2
    page = kinship_page("base", names, {"": {"pcc": matrix}}, {"": {"pcc": errors}})
    assert "±0.0042</td>" in page
    assert page.count("~") > 2


@pytest.mark.parametrize("metric", ["pcc", "euclidean"])
def test_what_is_undefined_is_said(metric):
    names = ["a", "b", "$base"]
    matrix = [[1.0, 0.5, None], [0.5, 1.0, None], [None, None, None]]
    figure = heatmap(metric, metric, names, matrix)
    assert "2 of the pairs" in figure.caption
    texts = [e.text for e in ET.fromstring(draw(figure, png=False).svg).iter() if e.text]
    assert texts.count("–") == 5
    assert any(text.startswith("$base") for text in texts)
    everything = heatmap(metric, metric, ["a", "b"], [[None, None], [None, None]])
    assert draw(everything, png=False).svg


def test_the_page_needs_nothing_else_and_escapes_names():
    names = ["<script>alert(1)</script>", "b", "c"]
    matrix = [[1.0, 0.25, None], [0.25, 1.0, -0.125], [None, -0.125, 1.0]]
    parts = {"": {"pcc": matrix, "euclidean": matrix}, "mlp": {"pcc": matrix}}
    page = kinship_page("<base>", names, parts, {}, ["x & y"])
    assert "<script>alert" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", page)
    assert page.count("<svg") == 3
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("undefined</td>") == 3
    assert "-0.125" in page
    assert "x &amp; y" in page
    assert page == kinship_page("<base>", names, parts, {}, ["x & y"])


def test_a_picture_is_a_png_that_says_what_it_shows():
    names, matrix = family(3)
    assert kinship_png("base", "pcc", names, matrix).startswith(b"\x89PNG")


def test_numbers_in_cells():
    assert [number(value) for value in (None, 1.0, -0.001, -0.5, 0.126, 12.345, 1234.5)] == [
        "–", "1.00", "0.00", "-0.50", "0.13", "12.3", "1.23e+03",
    ]  # fmt: skip
