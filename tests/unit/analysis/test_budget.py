"""The use of a budget, counted by hand."""

from dataclasses import replace

import pytest

from evomerge.analysis.budget import budget_use
from evomerge.domain.limits import CostLimit, Limits
from evomerge.testing.landscape_run import run_landscape


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A run with eight evaluations or more, as if they had taken 800 s, one GPU in use."""
    state = run_landscape(tmp_path_factory.mktemp("run"))
    assert state.evaluations >= 8
    return replace(state, seconds=800.0, gpu_seconds=800.0, gpus=1, reused_evaluations=0)


def under(state, **limits):
    return replace(state, budget=Limits(**limits))


def test_without_a_limit_there_is_none(state):
    assert budget_use(under(state)) is None


def test_evaluations_go_on_at_the_pace_so_far(state):
    use = budget_use(under(state, max_evaluations=2 * state.evaluations))
    assert (use.share, use.left) == (0.5, pytest.approx(800.0))


def test_reused_evaluations_say_nothing_about_the_pace(state):
    half = replace(state, reused_evaluations=state.evaluations // 2)
    use = budget_use(under(half, max_evaluations=state.evaluations + 1))
    assert use.left == pytest.approx(800.0 / (state.evaluations - state.evaluations // 2))
    none = replace(state, reused_evaluations=state.evaluations)
    assert budget_use(under(none, max_evaluations=100)).left is None


def test_the_limit_that_is_reached_first_counts(state):
    limits = {"max_evaluations": 100 * state.evaluations, "max_hours": 1000 / 3600}
    use = budget_use(under(state, **limits))
    assert (use.share, use.left) == (pytest.approx(0.8), pytest.approx(200.0))
    assert budget_use(under(state, **limits), elapsed=900).left == pytest.approx(100.0)
    cost = CostLimit(price_per_gpu_hour=3600.0, limit=900.0)
    use = budget_use(under(state, max_cost=cost, **limits))
    assert (use.share, use.left) == (pytest.approx(800 / 900), pytest.approx(100.0))


def test_a_budget_that_is_used_up_leaves_no_time(state):
    use = budget_use(under(state, max_hours=100 / 3600))
    assert (use.share, use.left) == (1.0, 0.0)
