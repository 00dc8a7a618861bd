"""The charts of reports, declared with Altair: each a pure function of a view.

All of them have a parameter `selected`, the name of a model, which is highlighted.
"""

from __future__ import annotations

from collections.abc import Iterator

from evomerge.report.charts.family import family_tree
from evomerge.report.charts.kinship import kinship_and_gain, kinship_matrix, pool_kinship
from evomerge.report.charts.layers import weight_change
from evomerge.report.charts.scores import best_so_far
from evomerge.report.charts.search import (
    coefficient_importance,
    coefficients,
    coefficients_and_score,
    expected_and_measured,
)
from evomerge.report.charts.tasks import gained_and_lost, model_by_task, trade_off
from evomerge.report.figure import Figure
from evomerge.views.run import RunView

CHARTS = (
    gained_and_lost,
    model_by_task,
    trade_off,
    best_so_far,
    coefficients,
    coefficients_and_score,
    coefficient_importance,
    expected_and_measured,
    family_tree,
    kinship_matrix,
    kinship_and_gain,
    pool_kinship,
    weight_change,
)
"""The charts of a run; each is a function of its view that returns None where it has no data."""


def figures_of(view: RunView) -> dict[str, Figure]:
    """The figures of a run by name, those that it has data for."""
    return {figure.name: figure for figure in _drawn(view)}


def _drawn(view: RunView) -> Iterator[Figure]:
    for declare in CHARTS:
        figure = declare(view)
        if figure is not None:
            yield figure
