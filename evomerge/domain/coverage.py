"""Skills that a pool has lost: tasks that some model of M solves and none of S.

A pool chosen by mean score can let a whole skill die: its only holder is weaker elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.domain.model import Model
from evomerge.domain.state import RunState

NOTEWORTHY = 10.0
"""Points between the best and the worst model below which a task tells no skills apart."""


@dataclass(frozen=True)
class LostSkill:
    """A task on which the pool is nearer to the worst model of M than to the best one.

    Attributes:
        holder: the model of M that is best at it.
        best: its score on the task, in points.
        pool_best: the best score of a pool member, in points.
    """

    task: str
    holder: str
    best: float
    pool_best: float


def lost_skills(state: RunState) -> tuple[LostSkill, ...]:
    """The skills that the pool has lost, in the order of the tasks."""
    tasks = state.best.scores.tasks if state.best and state.best.scores else ()
    lost = []
    for task in (each.task for each in tasks):
        best, holder, worst = state.models.tasks[task]
        scores = [score for model in state.pool if (score := task_score(model, task)) is not None]
        pool_best = max(scores, default=worst)
        if best - worst >= NOTEWORTHY and pool_best < (best + worst) / 2:
            lost.append(LostSkill(task, holder, best, pool_best))
    return tuple(lost)


def task_score(model: Model, task: str) -> float | None:
    """A model's score on one task, in points; None where it has none."""
    tasks = model.scores.tasks if model.scores else ()
    return next((each.value for each in tasks if each.task == task), None)
