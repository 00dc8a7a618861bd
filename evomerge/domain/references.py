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
    if part == "selection":
        waiting = any(model.scores is None and model.failure is None for model in foundation)
    else:
        waiting = any(model.scores and part not in model.confirmed for model in foundation)
    return None if waiting else best_by_task(foundation, part) or None


def best_by_task(models: Sequence[Model], part: Part) -> dict[str, float]:
    """The best score of these models on each task of a part, in points."""
    best: dict[str, float] = {}
    for model in models:
        scores = model.on(part)
        for task in scores.tasks if scores else ():
            best[task.task] = max(task.value, best.get(task.task, 0.0))
    return best
