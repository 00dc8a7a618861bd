"""Evaluations are counted in one way wherever they are shown: as `max_evaluations` counts them."""

import time

import pytest

from evomerge.api import Run
from evomerge.comparison.members import member_of
from evomerge.domain.events import RunFinished
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.documents import result_document, run_document, status_document
from evomerge.terminal.sentences import sentences
from evomerge.terminal.status import RunStatus
from evomerge.terminal.summary import counts_text, result_text
from evomerge.testing.landscape_run import landscape_config, run_landscape

BUDGET = 9


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("counted")
    config = landscape_config(
        strategy={"name": "steady_state"},
        stopping=[{"max_evaluations": BUDGET}],
        evaluation={"tasks": ["landscape"], "split": {"held_out": 0.5}},
    )
    run_landscape(root, config)
    return RunDirectory(root / "runs/landscape")


def test_every_place_says_the_budget(run):
    status = RunStatus.of(run.name, run.path, run.read())
    state = status.state
    documents = (
        run_document(status),
        status_document(status, None, time.time()),
        result_document(state),
    )
    assert [each["evaluations"] for each in documents] == [BUDGET] * 3
    assert [each["held_out_evaluations"] for each in documents] == [5] * 3
    assert member_of("landscape", run.read(), {}).course[-1].evaluations == BUDGET
    assert f"{BUDGET} evaluations, 5 held-out" in counts_text(state).plain
    assert f"{BUDGET} evaluations, 5 held-out" in result_text(state)
    assert f"{BUDGET} evaluations" in repr(Run(run.path))
    assert f"max_evaluations: {BUDGET} models scored" == state.stop
    last = next(e.event for e in run.read() if isinstance(e.event, RunFinished))
    assert f"{BUDGET} models scored" in sentences(last, state)[0].detail


def test_what_is_reused_is_told_apart_in_the_same_way(run):
    again = run_landscape(
        run.path.parent.parent,
        landscape_config(
            run={"name": "again", "seed": 1},
            strategy={"name": "steady_state"},
            stopping=[{"max_evaluations": BUDGET}],
            evaluation={"tasks": ["landscape"], "split": {"held_out": 0.5}},
        ),
    )
    assert (again.evaluations, again.reused_evaluations) == (BUDGET, BUDGET)
    assert (again.held_out_evaluations, again.reused_held_out) == (5, 5)
    assert f"{BUDGET} of {BUDGET} evaluations, 5 of 5 held-out" in result_text(again)
