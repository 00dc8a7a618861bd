"""A run over workers that are few, disagree, or change under it."""

import pytest

from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import PreflightError
from evomerge.execution.pool import Pool
from evomerge.testing.landscape import LandscapeEvaluator, LandscapeMerger, LandscapeWorker
from evomerge.testing.landscape_run import LandscapeWorkplace, landscape_config, run_landscape
from evomerge.views.run import run_view

CONFIG = landscape_config(stopping=[{"max_generations": 2}])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_do_everything_decide_as_one_for_each_kind(tmp_path, workers):
    """As one engine a GPU would; a merge and an evaluation never wait for each other for ever."""
    workplace = LandscapeWorkplace(tmp_path / "all")
    workplace.pool = Pool([LandscapeWorker() for _ in range(workers)])
    state = run_landscape(tmp_path / "all", CONFIG, workplace)
    assert decision_digest(state) == decision_digest(run_landscape(tmp_path / "each", CONFIG))


def test_children_are_scored_where_they_were_merged_and_the_journal_says_where(tmp_path):
    """One child a generation, so that both evaluators are idle when it is merged."""

    class Elsewhere(LandscapeEvaluator):
        host = "b"

    class Merger(LandscapeMerger):
        host = "b"

    config = landscape_config(strategy={"name": "steady_state", "k": 3})
    evaluators = (LandscapeEvaluator(), Elsewhere())
    workplace = LandscapeWorkplace(tmp_path, config, merger=Merger(), evaluators=evaluators)
    state = run_landscape(tmp_path, config, workplace)
    children = [model for model in state.models.values() if model.generation]
    assert children
    assert {(child.merged_on, child.scored_on) for child in children} == {("b", "b")}
    lines = workplace.run.journal.read_text().splitlines()
    assert sum('"host":"b"' in line for line in lines) >= 2 * len(children)
    assert not any('"host":""' in line for line in lines)
    view = run_view("it", workplace.run.read(), state)
    assert {row.scored_on for row in view.models if row.generation} == {"b"}
    alone = run_landscape(tmp_path / "alone", config)
    assert decision_digest(alone) == decision_digest(state)
    assert "host" not in (tmp_path / "alone/runs/landscape/journal.jsonl").read_text()


def test_workers_that_disagree_are_named_before_anything_is_recorded(tmp_path):
    class Other(LandscapeEvaluator):
        name = "the other one"

    evaluators = (LandscapeEvaluator(), Other(seed=9))
    workplace = LandscapeWorkplace(tmp_path, evaluators=evaluators)
    with pytest.raises(PreflightError, match=r"LandscapeEvaluator has .* the other one has"):
        run_landscape(tmp_path, CONFIG, workplace)
    assert not (tmp_path / "runs/landscape/journal.jsonl").exists()


class Changing(LandscapeEvaluator):
    """Its tasks are others from the sixth evaluation on, for `times` evaluations."""

    def __init__(self, times):
        super().__init__()
        self.left = times
        self.done = 0

    def score(self, operation, progress):
        self.done += 1
        answer = super().score(operation, progress)
        if self.done > 5 and self.left:
            self.left -= 1
            return {**answer, "evaluation_id": "another"}
        return answer


def test_an_evaluation_that_changes_under_a_run_fails_the_candidate(tmp_path):
    workplace = LandscapeWorkplace(tmp_path, evaluators=(Changing(2),))
    state = run_landscape(tmp_path, CONFIG, workplace)
    (failed,) = [model for model in state.models.values() if model.failure]
    assert "changed during the run" in failed.failure.reason
    assert (failed.failure.stage, failed.failure.attempts) == ("evaluation", 2)
    assert state.finished


def test_tasks_that_a_fresh_worker_cannot_load_fail_the_candidate(tmp_path):
    class Forgetful(Changing):
        def score(self, operation, progress):
            self.done += 1
            if self.done > 5 and self.left:
                self.left -= 1
                raise PreflightError("the hub cannot be reached")
            return LandscapeEvaluator.score(self, operation, progress)

    workplace = LandscapeWorkplace(tmp_path, evaluators=(Forgetful(2),))
    state = run_landscape(tmp_path, CONFIG, workplace)
    (failed,) = [model for model in state.models.values() if model.failure]
    assert failed.failure.reason == "the hub cannot be reached"


def test_a_merge_whose_settings_are_wrong_stops_the_run(tmp_path):
    class Refusing(LandscapeMerger):
        def merge(self, operation, progress):
            raise PreflightError("no such method")

    with pytest.raises(PreflightError, match="no such method"):
        run_landscape(tmp_path, CONFIG, LandscapeWorkplace(tmp_path, merger=Refusing()))
    assert run_landscape(tmp_path, CONFIG).finished
