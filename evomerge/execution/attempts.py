"""Retries of failed work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from evomerge.domain.errors import CandidateError
from evomerge.domain.model import Failure

T = TypeVar("T")


class GivenUpError(Exception):
    """All attempts at a candidate failed; becomes a `CandidateFailed` or `HeldOutFailed` event."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def retry(times: int, work: Callable[[], T], cancelled: Callable[[], bool] = lambda: False) -> T:
    """The result of `work`, called up to `times` times until it succeeds or is `cancelled`.

    Raises:
        CandidateError: of the last attempt.
    """
    for attempt in range(1, times + 1):
        try:
            return work()
        except CandidateError:
            if attempt == times or cancelled():
                raise
    raise ValueError("times must be at least 1")
