"""Trying again in a fresh child process, and knowing when to give up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from evomerge.adapters.pipeline import GivenUpError
from evomerge.domain.errors import CandidateError, StoppedError
from evomerge.domain.events import CandidateFailed
from evomerge.domain.model import Failure, Stage

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How hard to try.

    Attributes:
        attempts: tries of one merge or evaluation, each in a fresh child process.
        max_failures: failed candidates in a row that stop the run.
        merges_ahead: merged children that may wait for their scoring.
    """

    attempts: int = 2
    max_failures: int = 4
    merges_ahead: int = 2


class Attempts:
    """Counts what fails against the limits."""

    def __init__(self, limits: Limits, cancelled: Callable[[], bool]) -> None:
        self._limits = limits
        self._cancelled = cancelled
        self._failures_in_a_row = 0

    def of(self, stage: Stage, renew: Callable[[], None], work: Callable[[], T]) -> T:
        """Do `work`, after a failure again once `renew` has ended the child process.

        Raises:
            GivenUpError: the last attempt failed too.
            StoppedError: it failed because the run is being stopped.
        """
        for attempt in range(1, self._limits.attempts + 1):
            try:
                return work()
            except CandidateError as error:
                if self._cancelled():
                    raise StoppedError("the run was stopped") from error
                if attempt == self._limits.attempts:
                    reason = str(error.message)
                    failure = Failure(stage=stage, reason=reason, attempts=attempt)
                    raise GivenUpError(failure) from error
                renew()
        raise AssertionError("at least one attempt is made")

    def succeeded(self) -> None:
        """A candidate was merged and scored."""
        self._failures_in_a_row = 0

    def failed(self, event: CandidateFailed) -> None:
        """A candidate was given up.

        Raises:
            StoppedError: too many in a row.
        """
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._limits.max_failures:
            raise StoppedError(
                f"{self._failures_in_a_row} candidates failed in a row, "
                f"the last one for: {event.failure.reason}",
                "mend the cause, then resume the run",
            )
