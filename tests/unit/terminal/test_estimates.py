"""Estimated kinship on the terminal is marked and never looks surer than it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.domain.kinship import EstimatedReading, KinshipMatrix, KinshipReading, Metric
from evomerge.terminal.figures import kinship, kinship_error
from evomerge.terminal.heatmap import heatmap

from .conftest import drawn


@pytest.mark.parametrize(
    ("value", "error", "metric", "text"),
    [
        (0.8719, 0.0021, Metric.PCC, "~0.872 ±.003"),
        (0.8719, None, Metric.PCC, "0.87"),
        (0.8719, 0.0, Metric.PCC, "0.87"),
        (None, None, Metric.PCC, "–"),
        (12.345, 0.0123, Metric.EUCLIDEAN, "~12.35 ±0.013"),
    ],
)
def test_a_figure_says_how_sure_it_is(value, error, metric, text):
    assert kinship(value, metric, error) == text


@given(st.floats(1e-12, 1e6))
def test_an_interval_is_never_shown_smaller_than_it_is(error):
    assert float(kinship_error(error, Metric.EUCLIDEAN)) >= error * (1 - 1e-6)
    if error < 1:
        assert float(kinship_error(error, Metric.PCC)) >= error * (1 - 1e-9)


def test_estimates_are_marked_in_a_matrix():
    values = [[1.0, None, None], [0.5, 1.0, None], [0.25, 0.125, 1.0]]
    errors = [[None] * 3, [None] * 3, [0.0042, None, None]]
    lines = drawn(heatmap("title", "pcc", ["a", "b", "c"], values, errors), 80).splitlines()
    assert lines[3].split() == ["2", "b", "0.50", "1.00"]
    assert lines[4].split() == ["3", "c", "~0.250", "±.005", "0.12", "1.00"]


def test_the_mean_of_a_pool_is_an_estimate_where_one_pair_is():
    measured = KinshipReading(models=("a", "b"), pcc=0.5)
    errors = {Metric.PCC: 0.03, Metric.COSINE: 0.0, Metric.EUCLIDEAN: 0.0}
    told = EstimatedReading(models=("b", "c"), pcc=0.2, errors=errors)
    other = EstimatedReading(models=("a", "c"), pcc=0.2, errors=errors)
    matrix = KinshipMatrix.of(Metric.PCC, {each.models: each for each in (measured, told, other)})
    assert matrix.mean_error(["a", "b"]) is None
    assert matrix.mean_error(["a", "b", "c"]) == pytest.approx(0.02)
    assert matrix.mean_error(["a", "b", "d"]) is None
    assert (matrix.error("c", "b"), matrix.error("a", "b")) == (0.03, None)
