"""A pool of workers: who gets an operation, and what happens to one that fails."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from evomerge.domain.errors import CandidateError, PreflightError
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
