"""Merging and scoring at the same time: one thread merges, one thread an evaluator scores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from evomerge.domain.events import CandidateFailed, Event, ModelScored
from evomerge.domain.model import Failure, Model
from evomerge.ports import Evaluator


class GivenUpError(Exception):
    """A candidate is given up; becomes a `CandidateFailed` event."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class Pipeline:
    """Brings models through merging and scoring, once.

    Args:
        merge: has the weights of a model made; None when there was nothing to do.
        score: scores a model on an evaluator that no other thread uses meanwhile.
        ahead: merged models that may wait for an evaluator.
    """

    def __init__(
        self,
        merge: Callable[[Model], Event | None],
        score: Callable[[Model, Evaluator], Event],
        evaluators: Sequence[Evaluator],
        ahead: int,
    ) -> None:
        self._merge = merge
        self._score = score
        self._events: SimpleQueue[Event | BaseException] = SimpleQueue()
        self._idle: SimpleQueue[Evaluator] = SimpleQueue()
        for evaluator in evaluators:
            self._idle.put(evaluator)
        self._room = threading.Semaphore(len(evaluators) + ahead)
        self._cancelled = threading.Event()
        self._merging = ThreadPoolExecutor(1, "merge")
        self._scoring = ThreadPoolExecutor(len(evaluators), "score")

    def run(
        self, models: Sequence[Model], cancel: Callable[[], None]
    ) -> Generator[Event, None, None]:
        """The events of `models` in order of completion.

        Args:
            cancel: makes work in flight end soon; called when the caller stops before the end.

        Raises:
            Whatever `merge` or `score` raise, but for `GivenUpError`.
        """
        left = len(models)
        try:
            for model in models:
                self._merging.submit(self._guarded, self._merge_one, model)
            while left:
                event = self._events.get()
                if isinstance(event, BaseException):
                    raise event
                left -= isinstance(event, ModelScored | CandidateFailed)
                yield event
        finally:
            if left:
                self._cancelled.set()
                self._room.release(len(models))
                cancel()
            self._merging.shutdown(cancel_futures=True)
            self._scoring.shutdown(cancel_futures=True)

    def _merge_one(self, model: Model) -> None:
        self._room.acquire()
        try:
            event = self._merge(model)
        except BaseException:
            self._room.release()
            raise
        if event is not None:
            self._events.put(event)
        if not self._cancelled.is_set():
            self._scoring.submit(self._guarded, self._score_one, model)

    def _score_one(self, model: Model) -> None:
        evaluator = self._idle.get()
        try:
            self._events.put(self._score(model, evaluator))
        finally:
            self._idle.put(evaluator)
            self._room.release()

    def _guarded(self, work: Callable[[Model], None], model: Model) -> None:
        """Every end of a thread's work reaches the caller, as an event or as an exception."""
        if self._cancelled.is_set():
            return
        try:
            work(model)
        except GivenUpError as given_up:
            self._events.put(CandidateFailed(model=model.name, failure=given_up.failure))
        except BaseException as error:
            self._events.put(error)
