"""What bounds merges, and what goes on at the same time."""

import threading
from types import SimpleNamespace

import pytest

from evomerge.domain.errors import StoppedError
from evomerge.domain.events import ModelScored
from evomerge.domain.scores import Scores, TaskScore
from evomerge.execution import resources as resources_module
from evomerge.execution.pipeline import Pipeline
from evomerge.execution.resources import Resources, available_memory

SCORES = Scores(
    evaluation_id="e",
    tasks=(TaskScore(task="t", metric="acc", value=1.0, stderr=None, samples=1),),
)


def brought(models, merge, score, ahead, may_merge=lambda: True, merging=1):
    pipeline = Pipeline(merge, score, merging, 1, ahead, may_merge)
    return list(pipeline.run([SimpleNamespace(name=name) for name in models], lambda: None))


def scored(model):
    return ModelScored(model=model.name, scores=SCORES, seconds=0.0, reused=False)


def test_no_more_children_are_merged_than_may_wait():
    merged, seen = [], []

    def merge(model):
        merged.append(model.name)

    def slow(model):
        seen.append(len(merged) - len(seen))
        return scored(model)

    events = brought("abcdefgh", merge, slow, ahead=2)
    assert [event.model for event in events] == list("abcdefgh")
    assert max(seen) <= 3, "the one that is scored and two that wait"


def test_two_children_are_merged_at_the_same_time():
    both = threading.Barrier(2, timeout=120)

    def merge(model):
        both.wait()

    assert len(brought("ab", merge, scored, ahead=2, merging=2)) == 2


def test_a_merge_waits_for_memory_as_long_as_something_is_scored():
    going_on = []

    def merge(model):
        assert not going_on

    def score(model):
        going_on.append(model)
        event = scored(model)
        going_on.remove(model)
        return event

    assert len(brought("abc", merge, score, ahead=2, may_merge=lambda: False)) == 3


def test_disk_that_is_to_stay_free_stays_free(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=10_000_000_000)
    monkeypatch.setattr(resources_module.shutil, "disk_usage", lambda _: usage)
    Resources(tmp_path, model_size=5 * 10**9, min_free_disk=0).check_disk(2)
    Resources(tmp_path, model_size=5 * 10**9, min_free_disk=10**15).check_disk(0)
    with pytest.raises(StoppedError, match=r"10.0 GB are needed and 1.0 GB are to stay free"):
        Resources(tmp_path, model_size=5 * 10**9, min_free_disk=10**9).check_disk(2)


def test_memory_is_what_the_kernel_says(tmp_path):
    assert 0 < available_memory() < 1 << 60
    assert Resources(tmp_path, min_free_memory=1).has_memory()
    assert not Resources(tmp_path, min_free_memory=1 << 60).has_memory()
    assert Resources(tmp_path).has_memory()


def test_a_call_that_outlived_the_end_of_its_process_is_ended_too():
    started, ended = threading.Event(), threading.Event()
    cancelled = []

    def merge(model):
        started.set()
        assert ended.wait(120)

    def cancel():
        cancelled.append(True)
        if len(cancelled) > 1:  # the first one came before the call had a process
            ended.set()

    class Models(list):
        def __iter__(self):
            yield from super().__iter__()
            started.wait(120)
            raise KeyboardInterrupt

    pipeline = Pipeline(merge, lambda model: None, 1, 1, ahead=1)
    with pytest.raises(KeyboardInterrupt):
        list(pipeline.run(Models([SimpleNamespace(name="a")]), cancel))
    assert ended.is_set()


def test_a_signal_that_ends_no_wait_stops_the_work_all_the_same(unnoticed):
    """As one that comes just before the wait for the next event begins."""
    ended = threading.Event()
    in_time = []

    def merge(model):
        unnoticed()
        in_time.append(ended.wait(60))

    pipeline = Pipeline(merge, lambda model: None, 1, 1, ahead=1)
    with pytest.raises(InterruptedError):
        list(pipeline.run([SimpleNamespace(name="a")], ended.set))
    assert in_time == [True]
