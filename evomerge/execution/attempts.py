"""Trying again, and giving up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from evomerge.domain.errors import CandidateError
from evomerge.domain.model import Failure

T = TypeVar("T")


class GivenUpError(Exception):
    """A candidate is given up; becomes a `CandidateFailed` event."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def again(times: int, work: Callable[[], T], cancelled: Callable[[], bool] = lambda: False) -> T:
    """What `work` gives, tried `times` times at most, for as long as nothing is `cancelled`.

    Raises:
        CandidateError: of the last try.
    """
    for attempt in range(1, times + 1):
        try:
            return work()
        except CandidateError:
            if attempt == times or cancelled():
                raise
    raise ValueError("at least one attempt is made")
