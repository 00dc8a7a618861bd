"""The errors that evomerge raises on purpose, with their exit codes.

Exit codes: 0 success, 1 a bug (with a traceback), 2 invalid config or command line, 3 a problem
found before any work, 4 runs whose scores are not comparable, 5 a plug-in raised an error,
75 stopped but resumable (EX_TEMPFAIL of sysexits.h), 130 and 143 ended by SIGINT and SIGTERM.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class EvomergeError(Exception):
    """An error with a known cause: a line with the problem, and optionally one with a remedy."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message}\n  {self.remedy}"

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in the place of a traceback, which says nothing of the cause."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(EvomergeError):
    """An invalid command line."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One fault of a config.

    Attributes:
        where: `file:line`, or the override.
        key: the dotted path of the setting.
        message: what is wrong and what was expected.
    """

    where: str
    key: str
    message: str
    remedy: str | None = None

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        return f"{place}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


class ConfigError(EvomergeError):
    """An invalid config, with all of its problems in the order of the file."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PreflightError(EvomergeError):
    """A problem that was found before a run started any work."""


class IncomparableError(EvomergeError):
    """Runs cannot be compared, since their scores have different meanings."""

    exit_code = 4


class PluginError(EvomergeError):
    """A strategy or stopping criterion of another package raised an error, its `__cause__`."""

    exit_code = 5


class DamagedError(EvomergeError):
    """A file of a run or of the store is corrupt."""


class LockedError(EvomergeError):
    """The run is locked by another process."""


class CandidateError(EvomergeError):
    """A merge or evaluation failed; the run continues without the candidate."""


class WorkerLostError(CandidateError):
    """A worker was lost with its machine or its process, for no fault of its work.

    The work is done again; it does not count as an attempt of the candidate.
    """


class StoppedError(EvomergeError):
    """The run stopped before its end and can be resumed without loss."""

    exit_code = 75


class SignalledError(StoppedError):
    """A signal stopped the run.

    `exit_code` is 128 + the signal's number, as in shells, or 75 for SIGUSR1, with which Slurm
    announces the end of an allocation and after which the job is requeued.
    """

    def __init__(self, signum: int, message: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.signum = signum
        requeue = signum == signal.SIGUSR1
        self.exit_code = 75 if requeue else 128 + signum  # type: ignore[misc]
