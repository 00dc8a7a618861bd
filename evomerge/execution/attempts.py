"""Trying again, and knowing when to give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from evomerge.domain.errors import CandidateError, StoppedError
from evomerge.domain.events import CandidateFailed
from evomerge.domain.model import Failure, Stage
from evomerge.execution.pipeline import GivenUpError

T = TypeVar("T")


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


class Attempts:
    """Counts what fails against the limits.

    Args:
        attempts: tries of one merge or evaluation.
        max_failures: failed candidates in a row that stop the run.
        cancelled: whether the run is being stopped, which makes any work fail.
    """

    def __init__(self, attempts: int, max_failures: int, cancelled: Callable[[], bool]) -> None:
        self._attempts = attempts
        self._max_failures = max_failures
        self._cancelled = cancelled
        self._failures_in_a_row = 0

    def of(self, stage: Stage, work: Callable[[], T]) -> T:
        """Do `work`, after a failure again.

        Raises:
            GivenUpError: the last attempt failed too.
            StoppedError: it failed because the run is being stopped.
        """
        try:
            return again(self._attempts, work, self._cancelled)
        except CandidateError as error:
            if self._cancelled():
                raise StoppedError("the run was stopped") from error
            reason = str(error.message)
            failure = Failure(stage=stage, reason=reason, attempts=self._attempts)
            raise GivenUpError(failure) from error

    def succeeded(self) -> None:
        """A candidate was merged and scored."""
        self._failures_in_a_row = 0

    def failed(self, event: CandidateFailed) -> None:
        """A candidate was given up.

        Raises:
            StoppedError: too many in a row.
        """
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._max_failures:
            raise StoppedError(
                f"{self._failures_in_a_row} candidates failed in a row, "
                f"the last one for: {event.failure.reason}",
                "mend the cause, then resume the run",
            )
