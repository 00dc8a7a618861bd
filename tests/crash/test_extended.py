"""A finished run that is extended goes on as if its budget had been larger from the start."""

import pytest

from evomerge.domain.digest import decision_digest, decisions
from evomerge.domain.errors import SignalledError, UsageError
from evomerge.domain.events import ModelScored
from evomerge.domain.state import fold
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import SilentObserver, landscape_config, run_landscape


def budget(evaluations, **changes):
    return landscape_config(
        strategy={"name": "steady_state"},
        stopping=[{"max_evaluations": evaluations}],
        evaluation={"tasks": ["landscape"], "split": {"held_out": 0.5}},
        **changes,
    )


class StopsAfter(SilentObserver):
    """Stops the run after so many scores."""

    def __init__(self, scores):
        self._left = scores

    def on_event(self, event, state):
        self._left -= isinstance(event, ModelScored)
        if not self._left:
            raise SignalledError(15, "stopped")


def searched(state):
    """The decisions of the search, without the held-out scores of who was best in between."""
    found = decisions(state)
    models = [{k: v for k, v in each.items() if k != "confirmed"} for each in found["models"]]
    return {**found, "models": models}


@pytest.mark.parametrize("retention", ["all", "best"])
def test_it_decides_as_with_the_larger_budget(tmp_path, retention):
    whole = run_landscape(tmp_path / "whole", budget(13, retention=retention))
    config = budget(8, retention=retention)
    first = run_landscape(tmp_path / "more", config)
    assert first.finished
    assert first.evaluations == 8
    extended = run_landscape(tmp_path / "more", config, more=5)
    assert extended.finished
    assert searched(extended) == searched(whole)
    assert extended.best.on("held_out") == whole.best.on("held_out")
    again = run_landscape(tmp_path / "more", config)
    assert decision_digest(again) == decision_digest(extended), "a finished run does not change"


def test_an_extension_that_is_interrupted_goes_on(tmp_path):
    config = budget(8)
    for root in (tmp_path / "whole", tmp_path / "stopped"):
        run_landscape(root, config)
    whole = run_landscape(tmp_path / "whole", config, more=5)
    with pytest.raises(SignalledError):
        run_landscape(tmp_path / "stopped", config, observer=StopsAfter(2), more=5)
    stopped = fold(RunDirectory(tmp_path / "stopped/runs/landscape").read())
    assert not stopped.finished
    assert stopped.budget.max_evaluations == 13
    resumed = run_landscape(tmp_path / "stopped", config)
    assert decision_digest(resumed) == decision_digest(whole)


def test_it_can_be_extended_again_but_only_at_its_end(tmp_path):
    config = budget(7)
    run_landscape(tmp_path, config)
    for number in (1, 2):
        assert run_landscape(tmp_path, config, more=2).evaluations == 7 + 2 * number
    with pytest.raises(UsageError, match="has not come to its end"):
        run_landscape(tmp_path / "new", config, more=2)
