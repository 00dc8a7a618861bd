"""Every error that evomerge raises on purpose, each with the exit code a script can rely on.

Exit codes: 0 done, 1 a bug (its traceback is kept), 2 the config or the command line,
3 something found before any work was done, 4 runs whose scores cannot be compared, 75 stopped but
resumable (EX_TEMPFAIL of sysexits.h), 130 and 143 ended by SIGINT and SIGTERM.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class EvomergeError(Exception):
    """A fault with a known cause: one line that says what, and one that says what to do."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message}\n  {self.remedy}"


class UsageError(EvomergeError):
    """The command line asks for something that cannot be."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One fault of a config: where it is, what is wrong, what was expected.

    `where` is `file:line` (or the override that brought the value), `key` the dotted path.
    """

    where: str
    key: str
    message: str
    remedy: str | None = None

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        return f"{place}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


class ConfigError(EvomergeError):
    """A config file with all of its problems, in the order in which they stand in the file."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PreflightError(EvomergeError):
    """Something that would have failed later is known now, before anything was written."""


class IncomparableError(EvomergeError):
    """The scores of runs do not mean the same, so no comparison of them is made."""

    exit_code = 4


class DamagedError(EvomergeError):
    """A file of a run or of the store does not hold what was written to it."""


class LockedError(EvomergeError):
    """Another driver holds the run."""


class CandidateError(EvomergeError):
    """One merge or one evaluation failed; the run goes on without that candidate."""


class StoppedError(EvomergeError):
    """The run stopped before its end; everything done is kept and `resume` goes on from here."""

    exit_code = 75


class SignalledError(StoppedError):
    """A signal ended the run.

    `exit_code` is 128 + the signal's number, as shells have it, and 75 for SIGUSR1, by which a
    scheduler announces the end of an allocation and asks that the run be queued again.
    """

    def __init__(self, signum: int, message: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.signum = signum
        requeue = signum == signal.SIGUSR1
        self.exit_code = 75 if requeue else 128 + signum  # type: ignore[misc]
