"""Kinship against gain: the paper's Table 1, and the laws of a correlation."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.analysis.correlation import correlate

PAPER = json.loads((Path(__file__).parents[2] / "golden" / "paper" / "paths.json").read_text())


@pytest.mark.parametrize("metric", ["pcc", "cs", "ed"])
def test_table_1_of_the_paper(metric):
    rows, printed = PAPER["path1"], PAPER["table1"][metric]
    kinship, gain = [row[metric] for row in rows], [row["gain"] for row in rows]
    plain, absolute = correlate(kinship, gain), correlate(kinship, [abs(g) for g in gain])
    found = {"gain": plain.r, "p": plain.p, "abs_gain": absolute.r, "abs_p": absolute.p}
    assert plain.n == 14
    for name, value in found.items():
        assert abs(round(value, 2) - round(printed[name], 2)) < 0.0101, name


def test_path_2_is_carried_by_its_first_row():
    rows = PAPER["path2"]
    kinship, gain = [row["pcc"] for row in rows], [row["gain"] for row in rows]
    assert correlate(kinship, gain).r < -0.96
    assert correlate(kinship[1:], gain[1:]).p > 0.05


values = st.lists(
    st.tuples(st.integers(-50, 50).map(lambda n: n / 7), st.integers(-50, 50).map(lambda n: n / 7)),
    min_size=4,
    max_size=20,
).filter(lambda rows: all(len({row[i] for row in rows}) > 1 for i in (0, 1)))


@given(values)
@settings(max_examples=25, deadline=None)
def test_laws(rows):
    x, y = [row[0] for row in rows], [row[1] for row in rows]
    found = correlate(x, y)
    assert -1 - 1e-9 <= found.r <= 1 + 1e-9
    assert 0 <= found.p <= 1
    assert found.low <= found.high
    assert correlate(y, x).r == pytest.approx(found.r)
    assert correlate([3 * v + 2 for v in x], y).r == pytest.approx(found.r)
    assert correlate([-v for v in x], y).rho == pytest.approx(-found.rho)
    assert correlate(x, y) == found


@pytest.mark.parametrize("rows", [[], [(1, 2), (2, 3)], [(1, 2), (1, 3), (1, 4)]])
def test_what_has_no_correlation_says_so(rows):
    found = correlate([r[0] for r in rows], [r[1] for r in rows])
    assert (found.n, found.r, found.p) == (len(rows), None, None)


def test_a_perfect_line():
    found = correlate([1, 2, 3, 4], [2, 4, 6, 8])
    assert found.r == pytest.approx(1)
    assert math.isclose(found.low, 1)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="different lengths: 1 and 2"):
        correlate([1], [1, 2])
