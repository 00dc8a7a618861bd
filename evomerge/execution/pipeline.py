"""A pipeline of merging and scoring, with one thread per worker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from evomerge.domain.events import CandidateFailed, Event, ModelMerged
from evomerge.domain.model import Model
from evomerge.execution.attempts import GivenUpError

_POLL = 0.5
"""Seconds between polls: a signal that arrives just before a wait does not interrupt it."""


class Pipeline:
    """Merges and scores each model once.

    Args:
        merge: merges a model; None if its weights exist already.
        score: scores a model.
        merging: number of concurrent merges.
        scoring: number of concurrent evaluations.
        ahead: merged models that may wait for scoring.
        may_merge: whether there is memory for another merge. If not, the merge waits while
            models are being scored; after that waiting is pointless and it starts.
    """

    def __init__(
        self,
        merge: Callable[[Model], Event | None],
        score: Callable[[Model], Event],
        merging: int,
        scoring: int,
        ahead: int,
        may_merge: Callable[[], bool] = lambda: True,
    ) -> None:
        self._merge = merge
        self._score = score
        self._may_merge = may_merge
        self._events: SimpleQueue[Event | BaseException] = SimpleQueue()
        self._slots = threading.Semaphore(scoring + ahead)
        self._unscored: set[str] = set()
        self._cancelled = threading.Event()
        self._merging = ThreadPoolExecutor(merging, "merge")
        self._scoring = ThreadPoolExecutor(scoring, "score")

    def run(
        self, models: Sequence[Model], cancel: Callable[[], None]
    ) -> Generator[Event, None, None]:
        """The events of `models` in order of completion.

        Args:
            cancel: interrupts running work; called when the caller stops before the end, and
                repeatedly until all threads have ended.

        Raises:
            Whatever `merge` or `score` raise, except `GivenUpError`, which becomes an event.
        """
        left = len(models)
        try:
            for model in models:
                self._merging.submit(self._guarded, self._merge_one, model)
            while left:
                event = self._next()
                if isinstance(event, BaseException):
                    raise event
                left -= not isinstance(event, ModelMerged)
                yield event
        finally:
            if left:
                self._cancelled.set()
                self._slots.release(len(models))
                cancel()
            ending = threading.Thread(target=self._shut_down, name="ending")
            ending.start()
            while ending.is_alive():
                ending.join(_POLL)
                if left and ending.is_alive():
                    cancel()  # an operation may have started just after the previous call

    def _next(self) -> Event | BaseException:
        """The next event. Polls, since a signal that arrives just before a wait is not noticed."""
        while True:
            with contextlib.suppress(Empty):
                return self._events.get(timeout=_POLL)

    def _shut_down(self) -> None:
        self._merging.shutdown(cancel_futures=True)
        self._scoring.shutdown(cancel_futures=True)

    def _merge_one(self, model: Model) -> None:
        self._slots.acquire()
        while self._unscored and not self._may_merge() and not self._cancelled.wait(_POLL):
            pass
        try:
            event = self._merge(model)
        except BaseException:
            self._slots.release()
            raise
        if event is not None:
            self._events.put(event)
        if not self._cancelled.is_set():
            self._unscored.add(model.name)
            self._scoring.submit(self._guarded, self._score_one, model)

    def _score_one(self, model: Model) -> None:
        try:
            self._events.put(self._score(model))
        finally:
            self._unscored.discard(model.name)
            self._slots.release()

    def _guarded(self, work: Callable[[Model], None], model: Model) -> None:
        """Run `work` and report any exception to the caller, as an event or by raising it."""
        if self._cancelled.is_set():
            return
        try:
            work(model)
        except GivenUpError as given_up:
            self._events.put(CandidateFailed(model=model.name, failure=given_up.failure))
        except BaseException as error:
            self._events.put(error)
