"""The workers of a run: an operation goes to an idle one that does its kind."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from evomerge.domain.errors import CandidateError
from evomerge.ports import Operation, Progress, Worker

_LOOK = 0.5
"""Seconds between two looks: a signal that came just before a wait does not end it."""


def unseen(done: int, total: int) -> None:
    """No progress is shown."""


class Pool:
    """Workers, each busy with one operation at a time; a worker may do several kinds.

    All methods may be called from any thread.
    """

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._workers = tuple(workers)
        self._idle = list(self._workers)
        self._changed = threading.Condition()
        self._started = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called: what fails from then on is not the operation's fault."""
        return self._closed

    def of(self, kind: str) -> list[Worker]:
        """The workers that do operations of a kind."""
        return [worker for worker in self._workers if kind in worker.kinds]

    def start(self, *kinds: str) -> None:
        """Let the workers of these kinds warm up while the first work is prepared; once."""
        with self._changed:
            if self._started or self._closed:
                return
            self._started = True
        for worker in self._workers:
            if not worker.kinds.isdisjoint(kinds):
                worker.start()

    def run(self, operation: Operation, progress: Progress = unseen) -> dict[str, Any]:
        """The answer of the first worker that is free.

        Raises:
            CandidateError, PreflightError, StoppedError: as `Worker.run`.
            CandidateError: the pool is closed.
        """
        return self._run(self.of(operation.kind), operation, progress)

    def on_each(self, *operations: Operation) -> list[list[tuple[str, dict[str, Any]]]]:
        """For each operation what all its workers answer, with their names; all at the same time.

        Raises:
            CandidateError, PreflightError, StoppedError: of the first one that failed; the pool is
                closed then.
        """
        asked = [[(worker, each) for worker in self.of(each.kind)] for each in operations]
        with ThreadPoolExecutor(sum(map(len, asked)), "ask") as threads:
            coming = [
                [(w.name, threads.submit(self._run, [w], each, unseen)) for w, each in one]
                for one in asked
            ]
            try:
                return [[(name, _awaited(answer)) for name, answer in one] for one in coming]
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
            raise LookupError(f"no worker does {operation.kind!r}")
        worker = self._take(fit)
        try:
            return worker.run(operation, progress)
        except CandidateError:
            worker.close()  # the next operation meets a fresh one
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
                self._changed.wait(_LOOK)
        raise CandidateError("the workers were closed")

    def _give_back(self, worker: Worker) -> None:
        with self._changed:
            self._idle.append(worker)
            self._changed.notify_all()


def _awaited(answer: Future[dict[str, Any]]) -> dict[str, Any]:
    while not answer.done():
        wait([answer], _LOOK)
    return answer.result()
