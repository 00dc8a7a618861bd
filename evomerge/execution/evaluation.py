"""The workers' description of an evaluation, and the selection of scores from its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.scores import Scores, Split
from evomerge.domain.value import Value


class Counted(Value):
    """The metric that counts for one configured task.

    Attributes:
        filter: lm-eval's filter for extracting answers; None if the harness has no filters.
    """

    task: str
    metric: str
    filter: str | None = None
    weight: float = 1.0


class Example(Value):
    """An item of a task as lm-eval sends it."""

    task: str
    prompt: str
    target: str


class Evaluation(Value):
    """An evaluation as workers describe it before it runs.

    Attributes:
        ids: by split, the id of everything except the model that determines scores.
        counted: by split, the metrics that count, in the order of the tasks.
        batch_size: where a probe chose it; else that of the config.
        data_sets: the hub commits of the tasks' data sets, by name.
        calibration: the content id of the items that merge rules see; None if there are none.
        examples: the first items of each task, if they were asked for.
    """

    ids: dict[Split, str]
    counted: dict[Split, tuple[Counted, ...]]
    batch_size: int | None = None
    data_sets: dict[str, str] = Field(default_factory=dict)
    calibration: str | None = None
    examples: tuple[Example, ...] = ()

    def chosen(self, measured: Scores, split: Split) -> Scores:
        """The metrics that count, with their weights, out of all measured ones.

        Raises:
            CandidateError: one is missing, because its value was not in [0, 1].
        """
        found = {(task.task, task.metric, task.filter): task for task in measured.tasks}
        chosen = []
        for each in self.counted[split]:
            task = found.get((each.task, each.metric, each.filter))
            if task is None:
                key = f"{each.metric},{each.filter}"
                raise CandidateError(f"task {each.task!r} has no usable {key!r} for this model")
            chosen.append(task.model_copy(update={"weight": each.weight}))
        return measured.model_copy(update={"tasks": tuple(chosen)})


def agreed(answers: Sequence[tuple[str, Mapping[str, Any]]]) -> Evaluation:
    """The evaluation as all workers describe it.

    Args:
        answers: each worker's name and its answer to `describe`.

    Raises:
        PreflightError: two workers would produce different scores; names both.
    """
    (first, answer), *others = answers
    if "trouble" in answer:  # of the hub, with a data set
        message = f"task {answer['task']!r}: its data set: the hub {answer['trouble']['text']}"
        raise PreflightError(message, "try again later")
    evaluation = Evaluation.model_validate(answer)
    for name, other in others:
        for split, found in Evaluation.model_validate(other).ids.items():
            if found != evaluation.ids.get(split):
                raise PreflightError(
                    f"two workers would not score the same ({split} items): {first} has the "
                    f"evaluation {evaluation.ids.get(split)}, {name} has {found}",
                    "give both the same task files, data and library versions, or leave one of "
                    "them out of execution.devices",
                )
        if answer.get("calibration") != other.get("calibration"):
            raise PreflightError(
                f"two workers would not calibrate merges with the same items: {first} and {name}",
                "give both the same task files, data and library versions",
            )
    return evaluation
