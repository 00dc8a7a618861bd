"""A run over the landscape fakes, killed and stopped in every way: it decides as if it was not."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import (
    CandidateError,
    DamagedError,
    LockedError,
    PreflightError,
    SignalledError,
    StoppedError,
)
from evomerge.domain.retention import needed
from evomerge.domain.state import fold
from evomerge.driver import rebuild
from evomerge.ports import record_all
from evomerge.store.artefacts import Store
from evomerge.store.gc_roots import states_of, unreferenced
from evomerge.store.journal import read_journal
from evomerge.store.verification import verify
from evomerge.testing.landscape import VECTOR, LandscapeEvaluator, LandscapeMerger
from evomerge.testing.landscape_run import (
    LandscapeWorkplace,
    SilentObserver,
    landscape_config,
    run_landscape,
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return decision_digest(run_landscape(tmp_path_factory.mktemp("whole")))


def journal(root):
    return root / "runs/landscape/journal.jsonl"


class StopsAfter(SilentObserver):
    """Raises after the nth event, as a signal would."""

    def __init__(self, events, error):
        self.left = events
        self.error = error

    def on_event(self, event, state):
        self.left -= 1
        if self.left == 0:
            raise self.error


def events_of_a_whole_run(tmp_path):
    run_landscape(tmp_path / "count")
    return len(read_journal(journal(tmp_path / "count")).entries)


def test_stopped_after_every_event_it_decides_alike(tmp_path, uninterrupted):
    total = events_of_a_whole_run(tmp_path)
    assert total > 30
    for number in range(1, total):
        root = tmp_path / str(number)
        with pytest.raises(SignalledError):
            run_landscape(root, observer=StopsAfter(number, SignalledError(15, "stopped")))
        state = run_landscape(root)
        assert decision_digest(state) == uninterrupted, f"stopped after event {number}"
        assert state.finished


def test_with_skipped_merges_it_decides_alike_after_every_event(tmp_path):
    def config():
        merge = {"method": "slerp", "skip_if_kinship_above": 0.8}
        return landscape_config(merge=merge, stopping=[{"max_generations": 5}])

    whole = run_landscape(tmp_path / "whole", config())
    assert {merge.generation for merge in whole.skipped} == {3, 5}, "one is the end of the run"
    assert "6 skipped for a kinship above 0.8" in whole.stop
    events = [e.event.type for e in read_journal(journal(tmp_path / "whole")).entries]
    at = [n for n, kind in enumerate(events, start=1) if kind == "merges_skipped"]
    assert len(at) == 2
    for number in [n + more for n in at for more in (-1, 0, 1)]:
        root = tmp_path / str(number)
        with pytest.raises(SignalledError):
            run_landscape(root, config(), observer=StopsAfter(number, SignalledError(15, "stop")))
        assert decision_digest(run_landscape(root, config())) == decision_digest(whole)
    checkpoint = yaml.safe_load((tmp_path / "whole/runs/landscape/generations/03.yaml").read_text())
    assert [each["why"] for each in checkpoint["skipped"]] == [
        merge.reason for merge in whole.skipped_for(3)
    ]


def test_with_a_guard_it_decides_alike_after_every_event(tmp_path):
    def config():
        guard = {"text": "default", "worse_than": 1.0}
        return landscape_config(evaluation={"tasks": ["landscape"], "guard": guard})

    whole = run_landscape(tmp_path / "whole", config())
    out = [model.name for model in whole.models.values() if model.kept_out]
    assert out, "the test needs a child that is kept out"
    for number in range(1, len(read_journal(journal(tmp_path / "whole")).entries)):
        root = tmp_path / str(number)
        with pytest.raises(SignalledError):
            run_landscape(root, config(), observer=StopsAfter(number, SignalledError(15, "stop")))
        assert decision_digest(run_landscape(root, config())) == decision_digest(whole)


def test_a_batch_size_that_was_chosen_is_recorded(tmp_path):
    class Probed(LandscapeWorkplace):
        def check(self):
            return super().check().model_copy(update={"batch_size": 16})

    state = run_landscape(tmp_path, workplace=Probed(tmp_path))
    assert fold(read_journal(journal(tmp_path)).entries).start.batch_size == 16
    assert state.start.batch_size == 16


def test_nothing_recorded_is_done_again(tmp_path):
    class Counting(LandscapeEvaluator):
        evaluated = 0

        def score(self, operation, progress):
            Counting.evaluated += 1
            return super().score(operation, progress)

    def workplace():
        return LandscapeWorkplace(tmp_path, evaluators=(Counting(),))

    with pytest.raises(SignalledError):
        run_landscape(
            tmp_path,
            workplace=workplace(),
            observer=StopsAfter(20, SignalledError(15, "stopped")),
        )
    state = run_landscape(tmp_path, workplace=workplace())
    done = state.evaluations + state.held_out_evaluations
    assert Counting.evaluated <= done + 3, "only what was in flight may be repeated"
    before = Counting.evaluated
    run_landscape(tmp_path, workplace=workplace())
    assert Counting.evaluated == before, "a finished run does nothing"


def test_the_end_scores_the_best_and_the_foundation_on_what_the_search_never_saw(tmp_path):
    state = run_landscape(tmp_path)
    entries = [entry.event for entry in read_journal(journal(tmp_path)).entries]
    scored = [event for event in entries if event.type == "model_confirmed"]
    foundation = [model.name for model in state.at_generation(0)]
    assert [event.model for event in scored] == [state.best.name, *foundation]
    assert entries[-1 - len(scored) : -1] == scored, "the last that a run does"
    assert state.held_out_evaluations == len(scored)
    ids = {model.on("held_out").evaluation_id for model in state.finalists}
    assert ids.isdisjoint({model.scores.evaluation_id for model in state.ranking})
    assert all(model.selection_gap != 0 for model in state.finalists)


def test_a_held_out_evaluation_that_fails_is_recorded_and_loses_nothing(tmp_path):
    class Forgets(LandscapeEvaluator):
        def score(self, operation, progress):
            held_out = operation.arguments["split"] == "held_out"
            if held_out and operation.inputs["model"] == first:
                raise CandidateError("the held-out items are gone")
            return super().score(operation, progress)

    workplace = LandscapeWorkplace(tmp_path, evaluators=(Forgets(),))
    first = Path(workplace.setting.foundation[0].source)
    state = run_landscape(tmp_path, workplace=workplace)
    assert state.finished
    failed = [model for model in state.finalists if model.on("held_out") is None]
    assert [model.name for model in failed] == ["ash"]
    assert failed[0].held_out["held_out"].reason == "the held-out items are gone"
    assert failed[0].score is not None
    assert not state.unscored_on("held_out")


def test_without_a_split_the_end_scores_nothing_more(tmp_path):
    config = landscape_config(evaluation={"tasks": ["landscape"], "split": "none"})
    state = run_landscape(tmp_path, config)
    assert state.finished
    assert state.held_out_evaluations == 0


def test_a_second_arm_pays_only_for_what_is_new(tmp_path):
    first = run_landscape(tmp_path)
    shared = {model.content_id for model in first.models.values()}
    journal(tmp_path).parent.rename(tmp_path / "runs/first")

    config = landscape_config(strategy={"name": "greedy", "k": 3})
    second = run_landscape(tmp_path, config)
    entries = read_journal(journal(tmp_path)).entries
    for entry in entries:
        if entry.event.type in ("model_merged", "model_scored"):
            model = second.models[entry.event.model]
            assert entry.event.reused == (model.content_id in shared)
    assert any(getattr(entry.event, "reused", False) for entry in entries)


@pytest.mark.parametrize(("mergers", "evaluators"), [(1, 1), (1, 2), (2, 1), (2, 3), (3, 3)])
def test_the_number_of_workers_changes_nothing(tmp_path, uninterrupted, mergers, evaluators):
    workplace = LandscapeWorkplace(
        tmp_path,
        merge_workers=mergers,
        evaluators=tuple(LandscapeEvaluator() for _ in range(evaluators)),
    )
    assert decision_digest(run_landscape(tmp_path, workplace=workplace)) == uninterrupted


class FailingMerger(LandscapeMerger):
    """Fails the first `failures` merges that it is asked for."""

    def __init__(self, failures):
        self.failures = failures
        self.renewed = 0

    def merge(self, operation, progress):
        if self.failures:
            self.failures -= 1
            (operation.output / "half").write_text("x")
            raise CandidateError("killed by signal 9 (out of memory?)")
        return super().merge(operation, progress)

    def close(self):
        self.renewed += 1


def test_a_merge_that_fails_once_is_tried_again_in_a_fresh_child(tmp_path, uninterrupted):
    merger = FailingMerger(1)
    state = run_landscape(tmp_path, workplace=LandscapeWorkplace(tmp_path, merger=merger))
    assert decision_digest(state) == uninterrupted
    assert merger.renewed >= 1


def test_a_merge_that_keeps_failing_is_an_event_and_the_run_goes_on(tmp_path):
    workplace = LandscapeWorkplace(tmp_path, merger=FailingMerger(4))
    state = run_landscape(tmp_path, workplace=workplace)
    failed = [model for model in state.models.values() if model.failure]
    assert len(failed) == 2
    assert all("signal 9" in model.failure.reason for model in failed)
    assert not {model.name for model in failed} & {model.name for model in state.ranking}
    assert state.finished
    assert not list((tmp_path / "runs/store/tmp").iterdir())


def test_a_generation_in_which_all_children_fail_ends_sensibly(tmp_path):
    workplace = LandscapeWorkplace(tmp_path, merger=FailingMerger(12))
    stopping = ["pool_unchanged", {"max_generations": 3}]
    config = landscape_config(stopping=stopping, execution={"max_failures": 99})
    state = run_landscape(tmp_path, config, workplace)
    assert state.finished
    assert state.best.kind == "foundation"


def test_many_failures_in_a_row_stop_the_run_resumably(tmp_path):
    workplace = LandscapeWorkplace(tmp_path, merger=FailingMerger(99))
    config = landscape_config(execution={"max_failures": 3})
    with pytest.raises(StoppedError, match="3 candidates failed in a row"):
        run_landscape(tmp_path, config, workplace)
    assert run_landscape(tmp_path).finished


def test_a_foundation_model_without_a_score_is_a_preflight_fault(tmp_path):
    class Blind(LandscapeEvaluator):
        def score(self, operation, progress):
            raise CandidateError("NaN in lm_head.weight")

    with pytest.raises(PreflightError, match=r"foundation model ash .*NaN in lm_head"):
        run_landscape(tmp_path, workplace=LandscapeWorkplace(tmp_path, evaluators=(Blind(),)))


def test_a_changed_foundation_model_is_named_and_refused_unless_accepted(tmp_path):
    with pytest.raises(SignalledError):
        run_landscape(tmp_path, observer=StopsAfter(12, SignalledError(15, "stopped")))

    class Newer(LandscapeWorkplace):
        @property
        def setting(self):
            return replace(super().setting, versions={"landscape": "2"})

    with pytest.raises(PreflightError, match="landscape 1 at the start, 2 now"):
        run_landscape(tmp_path, workplace=Newer(tmp_path))


def test_a_damaged_journal_is_refused_and_left_as_it_is(tmp_path):
    run_landscape(tmp_path)
    data = bytearray(journal(tmp_path).read_bytes())
    data[200] ^= 4
    journal(tmp_path).write_bytes(data)
    with pytest.raises(DamagedError, match=r"journal.jsonl:1"):
        run_landscape(tmp_path)
    assert journal(tmp_path).read_bytes() == bytes(data)


def test_a_second_driver_is_refused(tmp_path):
    class Reenters(SilentObserver):
        def on_event(self, event, state):
            if event.type == "generation_proposed":
                with pytest.raises(LockedError, match=f"pid {os.getpid()}"):
                    run_landscape(tmp_path)

    assert run_landscape(tmp_path, observer=Reenters()).finished


def start(root):
    return subprocess.Popen(
        [sys.executable, "-m", "evomerge.testing.landscape_run", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("size", [1, 6000, 14000, 22000])
def test_killed_at_some_size_of_the_journal_it_decides_alike(tmp_path, uninterrupted, size):
    process = start(tmp_path)
    while process.poll() is None:
        if journal(tmp_path).exists() and journal(tmp_path).stat().st_size >= size:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.0005)
    process.communicate()
    assert start(tmp_path).communicate()[0].strip() == uninterrupted
    assert fold(read_journal(journal(tmp_path)).entries).finished


def test_changed_tasks_are_drift_too(tmp_path):
    with pytest.raises(SignalledError):
        run_landscape(tmp_path, observer=StopsAfter(12, SignalledError(15, "stopped")))

    def changed():
        return LandscapeWorkplace(tmp_path, evaluators=(LandscapeEvaluator(seed=9),))

    with pytest.raises(PreflightError, match="the evaluation changed"):
        run_landscape(tmp_path, workplace=changed())
    state = run_landscape(tmp_path, workplace=changed(), accept_drift=True)
    assert state.finished
    entries = read_journal(journal(tmp_path)).entries
    assert any("evaluation changed" in "".join(getattr(e.event, "drift", ())) for e in entries)


def test_a_generation_without_room_stops_before_it_merges(tmp_path, monkeypatch):
    merged = []

    class Recording(LandscapeMerger):
        def merge(self, operation, progress):
            merged.append(operation)
            return super().merge(operation, progress)

    workplace = LandscapeWorkplace(tmp_path, merger=Recording(), model_size=10**15)
    with pytest.raises(StoppedError, match=r"6000000.0 GB are needed, .* GB are free"):
        run_landscape(tmp_path, workplace=workplace)
    assert not merged
    assert run_landscape(tmp_path).finished


def made_again(root, state, model, **workers):
    return rebuild(LandscapeWorkplace(root, **workers), state, model, SilentObserver())


@pytest.mark.parametrize("retention", ["pool", "best"])
def test_pruned_weights_change_no_choice_and_can_be_made_again(tmp_path, retention):
    full = run_landscape(tmp_path / "full")
    lean = run_landscape(tmp_path / "lean", landscape_config(retention=retention))
    assert [m.name for m in lean.ranking] == [m.name for m in full.ranking]
    assert [g.pool for g in lean.generations] == [g.pool for g in full.generations]

    findings = verify(lean, Store(tmp_path / "lean/runs/store"))
    pruned = {f.name.partition(":")[0] for f in findings if f.verdict == "pruned"}
    assert pruned
    assert not pruned & needed(lean)
    assert not [f for f in findings if f.problems]
    for name in sorted(pruned):
        made_again(tmp_path / "lean", lean, lean.models[name])
    findings = verify(lean, Store(tmp_path / "lean/runs/store"))
    assert {f.verdict for f in findings} == {"whole"}


def test_weights_that_a_run_was_killed_before_letting_go_are_seen_by_gc(tmp_path):
    state = run_landscape(tmp_path, landscape_config(retention="best"))
    store = Store(tmp_path / "runs/store")
    assert unreferenced(states_of(tmp_path / "runs"), store) == []
    pruned = next(m for m in state.models.values() if m.merged and m.name not in needed(state))
    made_again(tmp_path, state, pruned)
    (found,) = unreferenced(states_of(tmp_path / "runs"), store)
    assert found.name == f"models/{pruned.content_id}"
    assert found.weights_only
    found.free(store)
    assert unreferenced(states_of(tmp_path / "runs"), store) == []
    assert not [f for f in verify(state, store) if f.problems]


def test_a_rebuilt_model_that_differs_is_refused(tmp_path):
    state = run_landscape(tmp_path, landscape_config(retention="best"))
    pruned = next(m for m in state.models.values() if m.merged and m.name not in needed(state))

    class Other(LandscapeMerger):
        def merge(self, operation, progress):
            answer = super().merge(operation, progress)
            weights = operation.output / VECTOR
            weights.write_text(weights.read_text().replace("0.", "0.0", 1))
            return answer

    with pytest.raises(StoppedError, match="was rebuilt with different content"):
        made_again(tmp_path, state, pruned, merger=Other())


def test_weights_that_another_run_needs_are_not_pruned(tmp_path):
    first = run_landscape(tmp_path)
    journal(tmp_path).parent.rename(tmp_path / "runs/first")
    run_landscape(tmp_path, landscape_config(retention="best"))
    findings = verify(first, Store(tmp_path / "runs/store"))
    assert {f.verdict for f in findings} == {"whole"}


def test_work_is_stopped_at_once_if_recording_fails():
    """Left to the garbage collector, it once ended inside a lock that its own ending needed."""
    ended = []

    def work():
        try:
            yield from ("first", "second")
        finally:
            ended.append(True)

    class Full:
        def record(self, event):
            raise OSError(28, "no space left")

    events = work()  # a reference that outlives the error, as a traceback's does
    with pytest.raises(OSError, match="no space"):
        record_all(Full(), events)
    assert ended == [True]
