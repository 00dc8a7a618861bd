"""Results of checks before a run: problems, warnings, and checks that passed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from evomerge.domain.errors import PreflightError

Severity = Literal["problem", "warning", "fine"]


@dataclass(frozen=True)
class Finding:
    """A result of a check.

    Attributes:
        severity: problems prevent a run, warnings are shown when it starts.
        subject: what was checked, such as a model's name, `disk` or `GPU`.
        remedy: what the user can do; None if no action is needed.
    """

    severity: Severity
    subject: str
    message: str
    remedy: str | None = None

    def __str__(self) -> str:
        text = f"{self.subject}: {self.message}"
        return text if self.remedy is None else f"{text}; {self.remedy}"


def refuse_problems(findings: Iterable[Finding]) -> None:
    """Raise PreflightError with all problems among the findings, if there are any."""
    problems = [each for each in findings if each.severity == "problem"]
    if len(problems) == 1:
        (only,) = problems
        raise PreflightError(f"{only.subject}: {only.message}", only.remedy)
    if problems:
        raise PreflightError("\n".join([f"{len(problems)} problems:", *map(str, problems)]))
