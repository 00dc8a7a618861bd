"""The pool of a run's workers: an operation goes to an idle worker of its kind."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from evomerge.domain.errors import CandidateError
from evomerge.ports import Operation, Progress, Worker

T = TypeVar("T")

_POLL = 0.5
"""Seconds between polls: a signal that arrives just before a wait does not interrupt it."""


def no_progress(done: int, total: int) -> None:
    """No-op callback."""


class Pool:
    """Workers that run one operation at a time each; a worker may support several kinds.

    All methods are thread-safe.
    """

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._workers = tuple(workers)
        self._idle = list(self._workers)
        self._changed = threading.Condition()
        self._started = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called; later failures are not the operation's fault."""
        return self._closed

    def of(self, kind: str) -> list[Worker]:
        """The workers that support a kind of operation."""
        return [worker for worker in self._workers if kind in worker.kinds]

    def start(self, *kinds: str) -> None:
        """Start the workers of these kinds in the background; only the first call has an effect."""
        with self._changed:
            if self._started or self._closed:
                return
            self._started = True
        for worker in self._workers:
            if not worker.kinds.isdisjoint(kinds):
                worker.start()

    def run(self, operation: Operation, progress: Progress = no_progress) -> dict[str, Any]:
        """Run an operation on the first idle worker of its kind.

        Raises:
            CandidateError, PreflightError, StoppedError: as `Worker.run`.
            CandidateError: the pool is closed.
        """
        return self._run(self.of(operation.kind), operation, progress)

    def on_each(self, *operations: Operation) -> list[list[tuple[str, dict[str, Any]]]]:
        """Run every operation on all workers of its kind, concurrently.

        Returns:
            For each operation, every worker's name and answer.

        Raises:
            CandidateError, PreflightError, StoppedError: of the first failure, which closes the
                pool.
        """
        workers = [[(worker, each) for worker in self.of(each.kind)] for each in operations]
        with ThreadPoolExecutor(sum(map(len, workers)), "ask") as threads:
            coming = [
                [(w.name, threads.submit(self._run, [w], each, no_progress)) for w, each in one]
                for one in workers
            ]
            try:
                return [[(name, awaited(answer)) for name, answer in one] for one in coming]
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Stop all workers in parallel, since one that is importing takes a while to stop.

        Pending and later operations raise CandidateError.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with ThreadPoolExecutor(max(1, len(self._workers)), "close") as threads:
            list(threads.map(lambda worker: worker.close(), self._workers))

    def _run(
        self, fit: Sequence[Worker], operation: Operation, progress: Progress
    ) -> dict[str, Any]:
        if not fit:
            raise LookupError(f"no worker supports {operation.kind!r}")
        worker = self._take(fit)
        try:
            return worker.run(operation, progress)
        except CandidateError:
            worker.close()  # the next operation starts it anew
            raise
        finally:
            self._give_back(worker)

    def _take(self, fit: Sequence[Worker]) -> Worker:
        with self._changed:
            while not self._closed:
                for worker in self._idle:
                    if worker in fit:
                        self._idle.remove(worker)
                        return worker
                self._changed.wait(_POLL)
        raise CandidateError("the workers were closed")

    def _give_back(self, worker: Worker) -> None:
        with self._changed:
            self._idle.append(worker)
            self._changed.notify_all()


def awaited(answer: Future[T]) -> T:
    """The result of a thread; polls, so that signals are noticed."""
    while not answer.done():
        wait([answer], _POLL)
    return answer.result()
