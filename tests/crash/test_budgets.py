"""Budgets of hours and money count on after a resume, and a finished run can be given more."""

import pytest

from evomerge.api.driving import extension
from evomerge.domain.errors import UsageError
from evomerge.domain.events import EVENT, RunResumed, RunStarted
from evomerge.domain.limits import CostLimit, Limits
from evomerge.domain.state import Entry, fold
from evomerge.stopping import MaxCost, MaxEvaluations, MaxHours, budget_of, criteria_of
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.budget import budget_text
from evomerge.terminal.documents import result_document
from evomerge.terminal.summary import result_text
from evomerge.testing.landscape_run import LandscapeWorkplace, landscape_config, run_landscape

COST = MaxCost(price_per_gpu_hour=2.0, limit=5.0)


def timed(root):
    """The journal of a landscape run, of which every event takes a quarter of an hour."""
    run_landscape(root, landscape_config(stopping=[{"max_generations": 1}]))
    entries = RunDirectory(root / "runs/landscape").read()[:12]
    start = entries[0].event.model_copy(update={"gpus": 2, "budget": budget_of([COST])})
    return [Entry(at=900.0 * n, event=e.event if n else start) for n, e in enumerate(entries)]


def test_the_gpus_of_every_session_count_for_its_hours(tmp_path):
    entries = timed(tmp_path)
    first = fold(entries[:5])
    assert first.seconds == 3600
    assert first.gpu_seconds == 2 * 3600
    assert COST.reached(first) is None
    pause = Entry(at=1e6, event=RunResumed(gpus=4))
    later = [Entry(at=1e6 + 900.0 * n, event=e.event) for n, e in enumerate(entries[5:], start=1)]
    resumed = fold([pause, *later[:1]], first)
    assert resumed.gpu_seconds == 2 * 3600 + 4 * 900, "the pause is free"
    assert resumed.cost(2.0) == pytest.approx(6.0)
    assert COST.reached(resumed) == "max_cost: 6.00 of 5 spent"
    assert budget_text(resumed) == "6.00 of 5.00 spent (4 GPUs, 2 an hour)"
    assert "budget   6.00 of 5.00 spent" in result_text(resumed)
    assert result_document(resumed)["cost"] == pytest.approx(6.0)


class OnGpus(LandscapeWorkplace):
    gpus = 2


def test_a_run_stops_when_its_money_is_spent(tmp_path):
    config = landscape_config(
        stopping=[{"max_cost": {"price_per_gpu_hour": 3.6e6, "limit": 1.0}}]
    )  # a thousand per GPU-second: the first generation is too dear
    state = run_landscape(tmp_path, config, OnGpus(tmp_path, config))
    assert state.finished
    assert state.stop.startswith("max_cost: ")
    assert len(state.generations) <= 2
    assert state.start.gpus == 2
    assert state.start.budget.max_cost == CostLimit(price_per_gpu_hour=3.6e6, limit=1.0)
    assert state.gpu_seconds == pytest.approx(2 * state.seconds)


def test_a_finished_run_goes_on_for_so_many_hours_or_so_much_money(tmp_path):
    config = landscape_config(stopping=[{"max_evaluations": 6}])
    before = run_landscape(tmp_path, config)
    assert before.budget == Limits(max_evaluations=6)
    assert not before.extended
    more = Limits(max_hours=1e-9, max_cost=CostLimit(price_per_gpu_hour=2.0, limit=3.0))
    after = run_landscape(tmp_path, config, OnGpus(tmp_path, config), more=more)
    assert after.stop.startswith("max_hours"), "the first that is reached"
    assert after.extended
    assert after.budget.max_evaluations is None
    assert after.budget.max_hours == pytest.approx(before.seconds / 3600 + 1e-9)
    assert after.budget.max_cost.limit == pytest.approx(3.0), "no GPU was in use before"
    with pytest.raises(UsageError, match="uses no GPU"):
        run_landscape(tmp_path, config, more=Limits(max_cost=more.max_cost))
    both = Limits(max_evaluations=2, max_hours=5.0)
    again = run_landscape(tmp_path, config, more=both)
    assert again.stop == f"max_evaluations: {after.evaluations + 2} models scored"


def test_the_price_is_that_of_the_run_or_has_to_be_named(tmp_path):
    config = landscape_config(stopping=[{"max_generations": 1}])
    run_landscape(tmp_path / "free", config)
    run = RunDirectory(tmp_path / "free/runs/landscape")
    assert extension(run) is None
    with pytest.raises(UsageError) as refused:
        extension(run, cost=5)
    assert "--cost 5 --price" in refused.value.remedy
    with pytest.raises(UsageError, match="a price alone"):
        extension(run, price=5)
    assert extension(run, cost=5, price=2).max_cost.price_per_gpu_hour == 2
    cost = {"max_cost": {"price_per_gpu_hour": 7.0, "limit": 10}}
    run_landscape(tmp_path / "paid", landscape_config(stopping=[cost, {"max_generations": 1}]))
    paid = RunDirectory(tmp_path / "paid/runs/landscape")
    assert extension(paid, cost=5).max_cost == CostLimit(price_per_gpu_hour=7.0, limit=5)


def test_extensions_of_earlier_journals_are_read():
    event = EVENT.validate_python({"type": "run_resumed", "max_evaluations": 13})
    assert event.extends
    assert event.budget == Limits(max_evaluations=13)
    assert not EVENT.validate_python({"type": "run_resumed", "max_evaluations": None}).extends
    assert EVENT.validate_json(event.model_dump_json()) == event


def test_limits_and_criteria_are_the_same():
    criteria = (MaxEvaluations(max_evaluations=9), MaxHours(max_hours=2.0), COST)
    assert criteria_of(budget_of(criteria)) == criteria
    dearer = MaxCost(price_per_gpu_hour=1.0, limit=3.0)
    assert budget_of([dearer, *criteria]).max_cost.limit == 5.0, "2.5 GPU-hours come first"
    assert criteria_of(Limits()) == ()
    assert RunStarted.model_fields["budget"].default == Limits()
