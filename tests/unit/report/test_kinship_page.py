"""Kinship as heatmaps on a page: readable, self-contained, undefined said."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from evomerge.domain.kinship import KinshipMatrix, Metric, pair
from evomerge.report import palette
from evomerge.report.charts.kinship import matrix as heatmap
from evomerge.report.kinship_page import kinship_page
from evomerge.views.kinship import kinship_view


def family(count, groups=3):
    """Models named in turn, kin within each of the groups."""
    names = [f"model-{place}" for place in range(count)]
    matrix = [
        [1.0 if i == j else 0.9 if i % groups == j % groups else 0.1 for j in range(count)]
        for i in range(count)
    ]
    return names, matrix


def by_pair(names, rows, errors=None, metric=Metric.PCC):
    def table(rows):
        return {pair(names[i], names[j]): rows[i][j] for i in range(len(names)) for j in range(i)}

    return KinshipMatrix(metric, table(rows), table(errors) if errors else {})


def drawn(names, matrix, errors=None, metric=Metric.PCC):
    kinship = by_pair(names, matrix, errors, metric)
    return heatmap("kinship", "pcc", "Says", kinship_view(names, kinship))


def texts(figure):
    return [e.text for e in ET.fromstring(figure.svg()).iter() if e.text]


def test_kin_come_together():
    names, matrix = family(18)
    figure = drawn(names, matrix)
    order = list(dict.fromkeys(row["a"] for row in figure.rows))
    assert list(kinship_view(names, by_pair(names, matrix)).order) == order
    kinds = [int(name.rpartition("-")[2]) % 3 for name in order]
    assert sum(a != b for a, b in pairwise(kinds)) == 2
    assert "clustering" in figure.caption
    assert len(figure.rows) == 18 * 17
    for row in figure.rows:
        assert row["kinship"] == matrix[names.index(row["a"])][names.index(row["b"])]


def test_estimates_are_marked():
    names, matrix = family(3)
    errors = [[None, None, 0.0042], [None, None, None], [0.0042, None, None]]
    figure = drawn(names, matrix, errors)
    assert "no more than ±0.0042" in figure.caption
    assert texts(figure).count(f"~{matrix[0][2]:.2f}") == 2
    page = kinship_page("base", names, {"": {"pcc": matrix}}, {"": {"pcc": errors}})
    assert "±0.0042</td>" in page
    assert page.count("~") > 2


@pytest.mark.parametrize("metric", [Metric.PCC, Metric.EUCLIDEAN])
def test_what_is_undefined_is_said(metric):
    matrix = [[1.0, 0.5, None], [0.5, 1.0, None], [None, None, None]]
    figure = drawn(["a", "b", "$base"], matrix, metric=metric)
    assert "2 of 3 pairs" in figure.caption
    assert figure.svg().count(f'fill="{palette.GRID}"') == 4, "both sides of two grey pairs"
    assert any(text.startswith("$base") for text in texts(figure))
    assert drawn(["a", "b"], [[None] * 2] * 2, metric=metric).svg()


def test_the_page_needs_nothing_else_and_escapes_names():
    names = ["<script>alert(1)</script>", "b", "c"]
    matrix = [[1.0, 0.25, None], [0.25, 1.0, -0.125], [None, -0.125, 1.0]]
    parts = {"": {"pcc": matrix, "euclidean": matrix}, "mlp": {"pcc": matrix}}
    page = kinship_page("<base>", names, parts, {}, ["x & y"])
    assert "<script>alert" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", page.partition("<script>")[0])
    assert page.partition("<script>")[0].count("<svg") == 3
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("undefined</td>") == 3
    assert "-0.125" in page
    assert "x &amp; y" in page
    assert page == kinship_page("<base>", names, parts, {}, ["x & y"])
