"""A pool of workers: who gets an operation, and what happens to one that fails."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from evomerge.domain.errors import (
    CandidateError,
    PreflightError,
    StoppedError,
    WorkerLostError,
)
from evomerge.execution.attempts import retry
from evomerge.execution.pool import Pool, no_progress
from evomerge.ports import Operation
from evomerge.testing.landscape import Fake


class Doing(Fake):
    """Does `work` and `look`; tells of everything."""

    kinds = frozenset({"work", "look"})

    def __init__(self, name="doing", kinds=kinds, error=None):
        self.kinds = frozenset(kinds)
        self.error = error
        self.story = []
        self._name = name
        self._busy = threading.Lock()

    name = property(lambda self: self._name)

    def start(self):
        self.story.append("start")

    def close(self):
        self.story.append("close")

    def work(self, operation, progress):
        assert self._busy.acquire(blocking=False), "one operation at a time"
        try:
            self.story.append("work")
            if self.error is not None:
                raise self.error
            return {"by": self.name}
        finally:
            self._busy.release()

    look = work


WORK, LOOK = Operation(kind="work"), Operation(kind="look")


def test_an_operation_goes_to_a_worker_of_its_kind():
    worker, looker = Doing("worker", {"work"}), Doing("looker", {"look"})
    pool = Pool([worker, looker])
    assert [pool.run(each)["by"] for each in (LOOK, WORK)] == ["looker", "worker"]
    with pytest.raises(LookupError, match="no worker supports 'dance'"):
        pool.run(Operation(kind="dance"))


def test_a_worker_that_does_several_kinds_does_one_thing_at_a_time():
    pool = Pool([Doing("one"), Doing("two")])
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(pool.run, [WORK, LOOK] * 50))
    assert {each["by"] for each in done} <= {"one", "two"}
    assert len(done) == 100


def test_a_worker_that_failed_starts_afresh_and_one_whose_settings_are_wrong_stays():
    for error, closed in ((CandidateError("bad"), True), (PreflightError("bad"), False)):
        worker = Doing(error=error)
        pool = Pool([worker])
        with pytest.raises(type(error)):
            pool.run(WORK)
        assert ("close" in worker.story) == closed
        worker.error = None
        assert pool.run(WORK) == {"by": "doing"}


def test_workers_are_started_once_and_only_those_of_the_kinds():
    worker, looker = Doing(kinds={"work"}), Doing(kinds={"look"})
    pool = Pool([worker, looker])
    pool.start("work", "dance")
    pool.start("work")
    assert (worker.story, looker.story) == (["start"], [])


def test_each_worker_is_asked_and_named():
    pool = Pool([Doing("a", {"work"}), Doing("b"), Doing("c", {"look"})])
    worked, looked = pool.on_each(WORK, LOOK)
    assert worked == [("a", {"by": "a"}), ("b", {"by": "b"})]
    assert looked == [("b", {"by": "b"}), ("c", {"by": "c"})]


def test_the_first_fault_of_those_asked_ends_all():
    good, bad = Doing("good"), Doing("bad", error=PreflightError("the settings are wrong"))
    pool = Pool([good, bad])
    with pytest.raises(PreflightError, match="the settings are wrong"):
        pool.on_each(WORK)
    assert "close" in good.story
    assert pool.closed


def test_a_signal_that_ends_no_wait_ends_the_asking_all_the_same(unnoticed):
    ended = threading.Event()

    class Slow(Doing):
        def work(self, operation, progress):
            unnoticed()
            assert ended.wait(60)
            raise CandidateError("it was closed")

        def close(self):
            ended.set()

    with pytest.raises(InterruptedError):
        Pool([Slow()]).on_each(WORK)
    assert ended.is_set()


def test_who_waits_for_a_worker_is_told_of_the_end():
    began, end = threading.Event(), threading.Event()

    class Slow(Doing):
        def work(self, operation, progress):
            began.set()
            assert end.wait(20)
            raise CandidateError("it was closed")

        def close(self):
            end.set()

    pool = Pool([Slow()])
    with ThreadPoolExecutor(2) as threads:
        busy = threads.submit(pool.run, WORK, no_progress)
        assert began.wait(20)
        waiting = threads.submit(pool.run, WORK, no_progress)
        pool.close()
        assert isinstance(busy.exception(20), CandidateError)
        assert isinstance(waiting.exception(20), CandidateError)
    with pytest.raises(CandidateError, match="the workers were closed"):
        pool.run(WORK)


class Lost(Doing):
    """Is lost with the first operations; `starts` are the outcomes of starting it again."""

    def __init__(self, name, losses, starts=()):
        super().__init__(name)
        self.losses = losses
        self.starts = list(starts)

    def start(self):
        super().start()
        if self.starts and (error := self.starts.pop(0)):
            raise error

    def work(self, operation, progress):
        if self.losses:
            self.losses -= 1
            raise WorkerLostError(f"{self.name} was lost")
        return super().work(operation, progress)

    look = work


def test_work_of_a_lost_worker_is_done_again_and_the_worker_comes_back():
    gone = WorkerLostError("again")
    worker = Lost("one", losses=2, starts=[gone, None, gone, None])
    assert Pool([worker]).run(WORK) == {"by": "one"}
    assert worker.story == ["start"] * 4 + ["work"]


def test_work_that_writes_is_left_to_the_caller_who_has_another_folder(tmp_path):
    pool = Pool([Lost("one", losses=1), Doing("two")])
    writing = Operation(kind="work", into=tmp_path)
    with pytest.raises(WorkerLostError):
        pool.run(writing)
    assert pool.run(writing)["by"] in {"one", "two"}


def test_a_run_without_workers_of_a_kind_stops():
    class Impossible(Lost):
        def start(self):
            raise StoppedError("no node has room")

    with pytest.raises(StoppedError, match="no node has room"):
        Pool([Impossible("one", losses=1)]).run(WORK)


def test_work_that_ends_its_workers_again_and_again_stops_the_run():
    worker = Lost("one", losses=1000)
    with pytest.raises(StoppedError, match="10 workers were lost in a row: one was lost"):
        Pool([worker]).run(WORK)


def test_losses_do_not_count_as_attempts():
    outcomes = [WorkerLostError("lost"), CandidateError("bad"), WorkerLostError("lost"), None]

    def work():
        if outcome := outcomes.pop(0):
            raise outcome
        return "done"

    assert retry(2, work) == "done"


def test_work_goes_to_the_host_that_has_its_inputs_if_a_worker_there_is_idle():
    near, far, busy = Doing("near"), Doing("far"), threading.Event()
    near.host, far.host = "a", "b"
    pool = Pool([far, near])
    assert pool.run_near("a", WORK) == ({"by": "near"}, "a")
    assert pool.run_near("", WORK) == ({"by": "far"}, "b")
    assert pool.run_near("gone", WORK)[1] in {"a", "b"}

    class Held(Doing):
        host = "a"

        def work(self, operation, progress):
            progress(1, 2)
            assert busy.wait(20)
            return super().work(operation, progress)

    pool, told = Pool([far, Held("held")]), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(
            pool.run_near, "a", WORK, lambda done, of, host="": host == "a" and told.set()
        )
        assert told.wait(20), "progress comes with the host"
        assert pool.run_near("a", WORK) == ({"by": "far"}, "b"), "it does not wait"
        busy.set()
        assert held.result(20)[1] == "a"


def test_workers_are_made_when_they_are_needed():
    made = []

    def making():
        made.append(Doing("one"))
        yield from made

    pool = Pool(making())
    pool.close()
    assert not made
    pool = Pool(making())
    assert pool.run(WORK) == {"by": "one"}
