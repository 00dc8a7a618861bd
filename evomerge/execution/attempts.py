"""Retries of failed work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from evomerge.domain.errors import CandidateError, StoppedError, WorkerLostError
from evomerge.domain.model import Failure

T = TypeVar("T")

MOST_LOSSES = 10
"""Workers that may be lost over the same work before the run stops: it may be what ends them."""


class GivenUpError(Exception):
    """All attempts at a candidate failed; becomes a `CandidateFailed` or `HeldOutFailed` event."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def retry(times: int, work: Callable[[], T], cancelled: Callable[[], bool] = lambda: False) -> T:
    """The result of `work`, called up to `times` times until it succeeds or is `cancelled`.

    A call whose worker was lost does not count.

    Raises:
        CandidateError: of the last attempt.
        StoppedError: `MOST_LOSSES` workers were lost.
    """
    failures = losses = 0
    while True:
        try:
            return work()
        except WorkerLostError as lost:
            losses += 1
            if cancelled():
                raise
            if losses == MOST_LOSSES:
                raise StoppedError(f"{losses} workers were lost in a row: {lost.message}") from lost
        except CandidateError:
            failures += 1
            if failures >= times or cancelled():
                raise
