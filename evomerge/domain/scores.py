"""What an evaluation says about a model, in points from 0 to 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import AliasChoices, Field

from evomerge.domain.value import Value

Split = Literal["selection", "held_out", "final"]
"""What a model is scored on.

`selection`: the items that the search sees. `held_out`: the other items of the same tasks.
`final`: tasks that the search never sees. The last two are scored once, at the end of a run.
"""

SPLIT_NAMES = AliasChoices("split", "part")
"""The names of a split's field in journals; earlier versions wrote `part`."""


class TaskScore(Value):
    """One task's metric.

    Attributes:
        value: in points, 0–100.
        stderr: the standard error of `value` in points, None where the harness gives none.
        samples: the number of items scored.
        filter: how an answer was read (lm-eval); None in journals that did not record it.
        weight: of this task in the objective.
        solved: which items were answered right, as hexadecimal digits of an integer whose lowest
            bit is item 0; None for metrics that are not right or wrong.
    """

    task: str
    metric: str
    value: float = Field(ge=0, le=100)
    stderr: float | None = Field(default=None, ge=0)
    samples: int = Field(ge=1)
    weight: float = Field(default=1.0, gt=0)
    solved: str | None = Field(default=None, pattern=r"^[0-9a-f]+$")
    filter: str | None = None


class Scores(Value):
    """All task scores of one model under one evaluation id."""

    evaluation_id: str
    tasks: tuple[TaskScore, ...] = Field(min_length=1)


def solved_items(right: Sequence[bool]) -> str:
    """`TaskScore.solved` of items in their order."""
    return f"{sum(1 << item for item, solved in enumerate(right) if solved):x}"


def newly_solved(of: Scores | None, by: Scores | None) -> int | None:
    """How many items that `of` fails `by` solves, over all tasks; None where that is not known."""
    if of is None or by is None:
        return None
    mine = {task.task: task for task in of.tasks}
    counts = [
        (int(task.solved, 16) & ~int(own.solved, 16)).bit_count()
        for task in by.tasks
        if (own := mine.get(task.task)) and task.solved is not None and own.solved is not None
    ]
    return sum(counts) if counts else None


class EvaluationWarning(Value):
    """What a reader of a score should know: so many items of a task were not scored as meant.

    Attributes:
        kind: names the trouble, the same for every model: `too_long`, `cut_off`, `no_answer`.
        total: of these, `count` had it.
        trouble: the rest of the sentence that starts with `<count> of <total>`.
    """

    kind: str
    task: str
    count: int = Field(ge=1)
    total: int = Field(ge=1)
    trouble: str

    @property
    def sentence(self) -> str:
        """The warning in words."""
        return f"task {self.task!r}: {self.count} of {self.total} {self.trouble}"
