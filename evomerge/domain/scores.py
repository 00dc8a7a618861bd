"""What an evaluation says about a model, in points from 0 to 100."""

from __future__ import annotations

import math

from pydantic import Field

from evomerge.domain.value import Value


class TaskScore(Value):
    """One task's metric.

    Attributes:
        value: in points, 0–100.
        stderr: the standard error of `value` in points, None where the harness gives none.
        samples: the number of items scored.
        weight: of this task in the aggregate.
    """

    task: str
    metric: str
    value: float = Field(ge=0, le=100)
    stderr: float | None = Field(default=None, ge=0)
    samples: int = Field(ge=1)
    weight: float = Field(default=1.0, gt=0)


class Scores(Value):
    """All task scores of one model under one evaluation id."""

    evaluation_id: str
    tasks: tuple[TaskScore, ...] = Field(min_length=1)

    @property
    def aggregate(self) -> float:
        """The weighted mean over the tasks, in points (`score(m)` of Algorithm 1)."""
        total = math.fsum(task.weight for task in self.tasks)
        return math.fsum(task.weight * task.value for task in self.tasks) / total

    @property
    def stderr(self) -> float | None:
        """The standard error of `aggregate`, tasks taken as independent; None if one is missing."""
        errors = [task.stderr for task in self.tasks]
        if any(error is None for error in errors):
            return None
        total = math.fsum(task.weight for task in self.tasks)
        squares = ((task.weight * (task.stderr or 0.0)) ** 2 for task in self.tasks)
        return math.sqrt(math.fsum(squares)) / total
