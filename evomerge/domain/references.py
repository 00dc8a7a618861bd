"""The objective of a run on each split, with the reference scores of `relative`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from evomerge.domain.model import Model
from evomerge.domain.objective import Objective, ObjectiveName
from evomerge.domain.scores import Split

SPLITS: tuple[Split, ...] = get_args(Split)


def objectives(name: ObjectiveName, foundation: Sequence[Model]) -> dict[Split, Objective]:
    """The objective `name` on every split.

    `relative` has a reference per split, since their items and tasks differ. It is None until every
    foundation model is scored there, or has failed.
    """
    if name != "relative":
        return dict.fromkeys(SPLITS, Objective(name))
    return {split: Objective(name, _reference(foundation, split)) for split in SPLITS}


def _reference(foundation: Sequence[Model], split: Split) -> Mapping[str, float] | None:
    if not is_complete(foundation, split):
        return None
    return {task: score for task, (score, _) in best_by_task(foundation, split).items()} or None


def is_complete(foundation: Sequence[Model], split: Split) -> bool:
    """Whether every foundation model is scored on a split, or has failed."""
    if split == "selection":
        return all(model.scores or model.failure for model in foundation)
    return all(split in model.held_out for model in foundation if model.scores)


def best_by_task(models: Sequence[Model], split: Split) -> dict[str, tuple[float, str]]:
    """(best score in points, name of its model) for each task of a split; ties: the first."""
    best: dict[str, tuple[float, str]] = {}
    for model in models:
        scores = model.on(split)
        for task in scores.tasks if scores else ():
            if task.task not in best or task.value > best[task.task][0]:
                best[task.task] = (task.value, model.name)
    return best
