"""The spelling of numbers and names."""

from __future__ import annotations

import pytest

from evomerge.domain.kinship import Metric
from evomerge.terminal import figures


def test_a_score_has_its_standard_error() -> None:
    assert figures.points(71.304, 1.234) == "71.30 ± 2.4"
    assert figures.points(71.304) == "71.30"
    assert figures.points(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.1, "+2.10"), (-0.5, "-0.50"), (0.001, "0.00"), (-0.001, "0.00"), (None, "–")],
)
def test_a_gain_always_has_a_sign_unless_it_is_nothing(value: float | None, text: str) -> None:
    assert figures.gain(value) == text


def test_a_kinship_is_spelled_by_its_metric() -> None:
    assert figures.kinship(-0.021, Metric.PCC) == "-0.02"
    assert figures.kinship(-0.001, Metric.COSINE) == "0.00"
    assert figures.kinship(41.53, Metric.EUCLIDEAN) == "41.5"
    assert figures.kinship(None, Metric.PCC) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(41, "00:41"), (3723, "1:02:03"), (180_123, "2d 02:02:03"), (-1, "00:00")],
)
def test_a_clock(seconds: float, text: str) -> None:
    assert figures.clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (42.4, "42 s"), (700, "12 min"), (12_240, "3.4 h"), (432_000, "5 days")],
)
def test_a_duration_has_its_natural_unit(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


def test_nothing_that_moves_a_cursor_is_printed() -> None:
    assert figures.printable("a\x1b[31mb\r\nc\td\x07") == "a [31mb c d"


@pytest.mark.parametrize(
    ("pace", "text"),
    [(2.4e10, "24 G/s"), (791139.0, "791 k/s"), (1234.0, "1234/s"), (12.3, "12.3/s")],
)
def test_a_pace_is_short(pace: float, text: str) -> None:
    assert figures.rate(pace) == text
    assert len(text) <= 7


def test_progress_is_counted_as_long_as_that_can_be_read() -> None:
    assert figures.progress(12, 300) == "12/300"
    assert figures.progress(4_784_640, 9_000_000) == "53 %"
    assert figures.progress(3, 0) == ""
