"""Results of evaluations, in points from 0 to 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import AliasChoices, Field

from evomerge.domain.value import Value

Split = Literal["selection", "held_out", "final"]
"""A split of the items.

`selection`: items that the search uses. `held_out`: the other items of the same tasks. `final`:
items of further tasks. The last two are scored once, at the end of a run.
"""

SPLIT_NAMES = AliasChoices("split", "part")
"""Names of the field in journals; earlier versions wrote `part`."""


class TaskScore(Value):
    """The score on one task.

    Attributes:
        value: in points, 0–100.
        stderr: standard error of `value` in points, None if lm-eval gives none.
        samples: number of scored items.
        filter: lm-eval's filter of the responses; None in journals that did not record it.
        weight: of the task in the objective.
        solved: bit mask of the correctly solved items as hexadecimal digits, item 0 in the lowest
            bit; None for metrics that are not binary.
    """

    task: str
    metric: str
    value: float = Field(ge=0, le=100)
    stderr: float | None = Field(default=None, ge=0)
    samples: int = Field(ge=1)
    weight: float = Field(default=1.0, gt=0)
    solved: str | None = Field(default=None, pattern=r"^[0-9a-f]+$")
    filter: str | None = None


class Perplexity(Value):
    """Perplexity on the guard's text: exp of the mean negative log-likelihood of its tokens.

    Attributes:
        value: per token of the model's own tokenizer.
        tokens: number of tokens of the text.
    """

    value: float = Field(ge=0)
    tokens: int = Field(ge=1)


class Scores(Value):
    """All task scores of one model under one evaluation id.

    Attributes:
        perplexity: None without a guard; measured with the selection split only.
    """

    evaluation_id: str
    tasks: tuple[TaskScore, ...] = Field(min_length=1)
    perplexity: Perplexity | None = None


def solved_items(right: Sequence[bool]) -> str:
    """`TaskScore.solved` from one flag per item."""
    return f"{sum(1 << item for item, solved in enumerate(right) if solved):x}"


class EvaluationWarning(Value):
    """A warning about a score: some items of a task were not scored as intended.

    Attributes:
        kind: for example `too_long`, `cut_off`, `no_answer`, `new_engines`.
        task: empty for a warning about the models as a whole.
        count: number of affected items, of `total`.
        trouble: the rest of a sentence that starts with `<count> of <total>`; a whole sentence
            without a task.
    """

    kind: str
    task: str
    count: int = Field(ge=1)
    total: int = Field(ge=1)
    trouble: str

    @property
    def sentence(self) -> str:
        """The warning as a sentence."""
        if not self.task:
            return self.trouble
        return f"task {self.task!r}: {self.count} of {self.total} {self.trouble}"
