"""The pool of a run's workers: an operation goes to an idle worker of its kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

from evomerge.domain.errors import CandidateError, EvomergeError, StoppedError, WorkerLostError
from evomerge.execution.attempts import retry
from evomerge.ports import HostedProgress, Operation, Worker

T = TypeVar("T")

_POLL = 0.5
"""Seconds between polls: a signal that arrives just before a wait does not interrupt it."""


def no_progress(done: int, total: int, host: str = "") -> None:
    """No-op callback."""


class Pool:
    """Workers that run one operation at a time each; a worker may support several kinds.

    A worker that was lost is started again in the background, and gets work when it is back.
    All methods are thread-safe.

    Args:
        workers: read when the first operation comes, so that a generator may connect to a cluster.
    """

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._coming = workers
        self._known: tuple[Worker, ...] | None = None
        self._idle: list[Worker] = []
        self._missing: dict[Worker, EvomergeError] = {}
        """The lost workers that could not be started again so far, and why."""
        self._changed = threading.Condition()
        self._started = False
        self._closed = False

    @property
    def _workers(self) -> tuple[Worker, ...]:
        if self._known is not None:  # without the lock, for which a thousand threads would wait
            return self._known
        with self._changed:
            if self._known is None:
                self._known = tuple(self._coming)
                self._idle += self._known
            return self._known

    @property
    def closed(self) -> bool:
        """Whether `close` was called; later failures are not the operation's fault."""
        return self._closed

    def of(self, kind: str) -> list[Worker]:
        """The workers that support a kind of operation."""
        return [worker for worker in self._workers if kind in worker.kinds]

    def start(self, *kinds: str) -> None:
        """Start the workers of these kinds in the background; only the first call has an effect."""
        if self._started:
            return
        with self._changed:
            if self._started or self._closed:
                return
            self._started = True
        for worker in self._workers:
            if not worker.kinds.isdisjoint(kinds):
                worker.start()

    def run(self, operation: Operation, progress: HostedProgress = no_progress) -> dict[str, Any]:
        """The result of an operation; see `run_near`."""
        return self.run_near("", operation, progress)[0]

    def run_near(
        self, host: str, operation: Operation, progress: HostedProgress = no_progress
    ) -> tuple[dict[str, Any], str]:
        """Run an operation on an idle worker of its kind, of `host` if there is one.

        A host that has read or written the inputs may still have them in memory. It is never waited
        for, and no result depends on it.

        It is done again on another one if the worker is lost, except if it writes into a folder.

        Returns:
            The result, and the host of the worker.

        Raises:
            CandidateError, PreflightError, StoppedError: as `Worker.run`.
            CandidateError: the pool is closed.
            StoppedError: all workers of its kind were lost and cannot be started again.
        """
        return self._run(frozenset(self.of(operation.kind)), operation, progress, host)

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
                [(w.name, threads.submit(self._run, frozenset([w]), each)) for w, each in one]
                for one in workers
            ]
            try:
                return [[(name, awaited(answer)[0]) for name, answer in one] for one in coming]
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
            known = self._known or ()
        with ThreadPoolExecutor(max(1, len(known)), "close") as threads:
            list(threads.map(lambda worker: worker.close(), known))

    def _run(
        self,
        fit: frozenset[Worker],
        operation: Operation,
        progress: HostedProgress = no_progress,
        host: str = "",
    ) -> tuple[dict[str, Any], str]:
        if not fit:
            raise LookupError(f"no worker supports {operation.kind!r}")
        once = partial(self._run_once, fit, operation, progress, host)
        # What was lost may still be writing into the folder, so the caller has to give another one.
        return once() if operation.into else retry(1, once, lambda: self._closed)

    def _run_once(
        self, fit: frozenset[Worker], operation: Operation, progress: HostedProgress, host: str
    ) -> tuple[dict[str, Any], str]:
        worker = self._take(fit, host)
        lost = False
        try:
            answer = worker.run(operation, lambda done, of: progress(done, of, worker.host))
        except WorkerLostError:
            lost = True
            raise
        except CandidateError:
            worker.close()  # the next operation starts it anew
            raise
        else:
            return answer, worker.host
        finally:
            if lost:
                threading.Thread(target=self._restart, args=(worker,), daemon=True).start()
            else:
                self._give_back(worker)

    def _restart(self, worker: Worker) -> None:
        """Start a lost worker again, as often as it takes, and give it back."""
        while not self._closed:
            try:
                worker.start()
            except WorkerLostError:
                time.sleep(_POLL)  # it was placed on a node that was going
            except EvomergeError as error:
                with self._changed:
                    self._missing[worker] = error
                    self._changed.wait(_POLL)
            else:
                self._give_back(worker)
                return

    def _take(self, fit: frozenset[Worker], host: str) -> Worker:
        with self._changed:
            while not self._closed:
                idle = [worker for worker in self._idle if worker in fit]
                if idle:
                    worker = next((each for each in idle if host and each.host == host), idle[0])
                    self._idle.remove(worker)
                    return worker
                if fit <= self._missing.keys():
                    first = next(worker for worker in self._workers if worker in fit)
                    raise StoppedError(self._missing[first].message)
                self._changed.wait(_POLL)
        raise CandidateError("the workers were closed")

    def _give_back(self, worker: Worker) -> None:
        with self._changed:
            self._missing.pop(worker, None)
            self._idle.append(worker)
            self._changed.notify_all()


def awaited(answer: Future[T]) -> T:
    """The result of a thread; polls, so that signals are noticed."""
    while not answer.done():
        wait([answer], _POLL)
    return answer.result()
