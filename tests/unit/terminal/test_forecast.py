"""Predicted kinship on the terminal is marked, with its bar, and never looks surer than it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.domain.kinship import KinshipForecast, Metric, PredictedKinship
from evomerge.terminal.forecast import cell, forecast_table, spread

from .conftest import drawn


def one(value, error, predicted=True):
    return PredictedKinship(models=("a", "b"), value=value, error=error, predicted=predicted)


@pytest.mark.parametrize(
    ("estimate", "metric", "text"),
    [
        (one(0.8719, 0.0021), Metric.PCC, "~0.872 ±.003"),
        (one(0.8719, 0.0, predicted=False), Metric.PCC, "0.872"),
        (one(None, 0.123), Metric.COSINE, "? ±.123"),
        (one(None, None), Metric.PCC, "–"),
        (None, Metric.PCC, "–"),
        (one(12.345, 0.0123), Metric.EUCLIDEAN, "~12.35 ±0.013"),
    ],
)
def test_a_cell_says_how_sure_it_is(estimate, metric, text):
    assert cell(estimate, metric).plain == text


@given(st.floats(1e-12, 1e6))
def test_a_bar_is_never_shown_smaller_than_it_is(error):
    assert float(spread(error, Metric.EUCLIDEAN)) >= error * (1 - 1e-6)
    if error < 1:
        assert float(spread(error, Metric.PCC)) >= error * (1 - 1e-9)


def test_children_are_columns_and_each_pair_stands_once():
    forecast = KinshipForecast(
        metric=Metric.PCC,
        estimates=(
            PredictedKinship(models=("x", "m"), value=0.5, error=0.001),
            PredictedKinship(models=("y", "m"), value=0.25, error=0.001),
            PredictedKinship(models=("y", "x"), value=0.125, error=0.002),
        ),
    )
    table = forecast_table("title", Metric.PCC, ["m"], ["x", "y"], forecast.between)
    lines = drawn(table, 80).splitlines()
    assert lines[2].split() == ["m", "~0.500", "±.001", "~0.250", "±.001"]
    assert lines[3].split() == ["1", "x"]
    assert lines[4].split() == ["2", "y", "~0.125", "±.002"]
