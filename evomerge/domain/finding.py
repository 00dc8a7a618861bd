"""What a check found before any work was done: a problem, a warning, or that all is well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from evomerge.domain.errors import PreflightError

Severity = Literal["problem", "warning", "fine"]


@dataclass(frozen=True)
class Finding:
    """One result of one check.

    Attributes:
        severity: a problem stops a run, a warning is shown when it starts.
        subject: what was checked: a model's name, `disk`, `GPU`.
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
    """Go on if there is no problem among the findings.

    Raises:
        PreflightError: with every problem, a line each.
    """
    problems = [each for each in findings if each.severity == "problem"]
    if len(problems) == 1:
        (only,) = problems
        raise PreflightError(f"{only.subject}: {only.message}", only.remedy)
    if problems:
        raise PreflightError("\n".join([f"{len(problems)} problems:", *map(str, problems)]))
