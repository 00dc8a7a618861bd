"""The objective of a run on each part of its items, as far as it can be known by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from evomerge.domain.model import Model
from evomerge.domain.objective import Objective, ObjectiveName
from evomerge.domain.scores import Part

PARTS: tuple[Part, ...] = get_args(Part)


def objectives(name: ObjectiveName, foundation: Sequence[Model]) -> dict[Part, Objective]:
    """The objective `name` on every part.

    `relative` has a reference of its own on each part, since other items are of other difficulty
    and the final tasks are other tasks. It is known when the last foundation model is scored there,
    or has failed for good.
    """
    if name != "relative":
        return dict.fromkeys(PARTS, Objective(name))
    return {part: Objective(name, _reference(foundation, part)) for part in PARTS}


def _reference(foundation: Sequence[Model], part: Part) -> Mapping[str, float] | None:
    if not is_complete(foundation, part):
        return None
    return {task: score for task, (score, _) in best_by_task(foundation, part).items()} or None


def is_complete(foundation: Sequence[Model], part: Part) -> bool:
    """Whether the foundation models are all scored on a part of the items, or failed for good."""
    if part == "selection":
        return all(model.scores or model.failure for model in foundation)
    return all(part in model.confirmed for model in foundation if model.scores)


def best_by_task(models: Sequence[Model], part: Part) -> dict[str, tuple[float, str]]:
    """The best score of these models on each task of a part, in points, and whose it is.

    Of equal ones the first.
    """
    best: dict[str, tuple[float, str]] = {}
    for model in models:
        scores = model.on(part)
        for task in scores.tasks if scores else ():
            if task.task not in best or task.value > best[task.task][0]:
                best[task.task] = (task.value, model.name)
    return best
