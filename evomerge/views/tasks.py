"""Scores by task: what every model keeps of the specialists, and what the best one gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from evomerge.domain.model import Model
from evomerge.domain.references import best_by_task
from evomerge.domain.scores import Split, TaskScore
from evomerge.domain.skills import skills_of
from evomerge.domain.state import RunState
from evomerge.views.intervals import half_width, of_difference

Change = Literal["gained", "kept", "lost"]


@dataclass(frozen=True)
class TaskScoreOf:
    """The score of a model on a task beside that of the specialist, in points.

    Attributes:
        specialist: the best foundation model on the task.
        reference: its score.
        error: half of the 95 % interval of `score`.
        change: `gained` above the specialist's score, `kept` at or above the share of it that
            `evaluation.skill_kept_at` names, `lost` below.
    """

    model: str
    task: str
    score: float
    error: float | None
    specialist: str
    reference: float
    change: Change

    @property
    def difference(self) -> float:
        """The score less that of the specialist."""
        return self.score - self.reference


@dataclass(frozen=True)
class TaskChange:
    """A task on which the best model is compared with the specialist, on one split.

    Attributes:
        low, high: the 95 % interval of the difference, both scores taken as independent; None
            without standard errors.
    """

    task: str
    split: Split
    specialist: str
    reference: float
    reference_error: float | None
    score: float
    error: float | None
    difference: float
    low: float | None
    high: float | None
    change: Change


@dataclass(frozen=True)
class Tasks:
    """The scores by task of a run.

    Attributes:
        names: of the tasks of the selection split, in order.
        kept_at: the share of the specialist's score at which a skill counts as kept.
        scores: of every scored model on every task of the selection split, model by model.
        changes: the best model task by task, on held-out items if they are scored; empty if the
            best model is a foundation model.
        trade_off: the two tasks on which the models disagree most: with the lowest rank
            correlation of their scores; None with fewer than two tasks or three models.
    """

    names: tuple[str, ...]
    kept_at: float
    scores: tuple[TaskScoreOf, ...]
    changes: tuple[TaskChange, ...]
    trade_off: tuple[str, str] | None


def tasks_of(state: RunState) -> Tasks | None:
    """The scores by task; None before a foundation model is scored."""
    references = best_by_task(state.at_generation(0), "selection")
    if not references:
        return None
    scored = [model for model in state.models.values() if model.scores is not None]
    cells = tuple(
        TaskScoreOf(
            model.name,
            task.task,
            task.value,
            half_width(task.stderr),
            references[task.task][1],
            references[task.task][0],
            _change(task.value, references[task.task][0], state.skill_kept_at),
        )
        for model in scored
        for task in (model.scores.tasks if model.scores else ())
        if task.task in references
    )
    names = tuple(references)
    return Tasks(
        names, state.skill_kept_at, cells, changes_of(state, state.best), _trade_off(names, scored)
    )


def _change(value: float, reference: float, kept_at: float) -> Change:
    if value > reference:
        return "gained"
    return "kept" if value >= kept_at * reference else "lost"


def changes_of(state: RunState, model: Model | None) -> tuple[TaskChange, ...]:
    """A model against the specialist on each task; empty for a foundation model and for None."""
    skills = skills_of(state, model) if model is not None and model.parents else None
    if model is None or skills is None:
        return ()
    ours = _by_task(model, skills.split)
    found = []
    for skill in skills.tasks:
        own = ours[skill.task]
        theirs = _by_task(state.models[skill.holder], skills.split)[skill.task]
        error, reference_error = half_width(own.stderr), half_width(theirs.stderr)
        apart, difference = of_difference(error, reference_error), own.value - theirs.value
        found.append(
            TaskChange(
                skill.task,
                skills.split,
                skill.holder,
                theirs.value,
                reference_error,
                own.value,
                error,
                difference,
                None if apart is None else difference - apart,
                None if apart is None else difference + apart,
                _change(own.value, theirs.value, state.skill_kept_at),
            )
        )
    return tuple(found)


def _by_task(model: Model, split: Split) -> dict[str, TaskScore]:
    scores = model.on(split)
    return {task.task: task for task in scores.tasks} if scores else {}


def _trade_off(names: Sequence[str], scored: Sequence[Model]) -> tuple[str, str] | None:
    """The first pair of tasks of the lowest rank correlation over the models; constant: none."""
    tables = [_by_task(model, "selection") for model in scored]
    full = [table for table in tables if all(name in table for name in names)]
    if len(names) < 2 or len(full) < 3:
        return None
    import numpy as np
    from scipy.stats import rankdata

    ranks = np.array([rankdata([table[name].value for table in full]) for name in names])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=1))
    worst: tuple[float, tuple[str, str]] | None = None
    for i, j in combinations(range(len(names)), 2):
        if norms[i] and norms[j]:
            found = float(centred[i] @ centred[j] / (norms[i] * norms[j]))
            if worst is None or found < worst[0] - 1e-9:
                worst = (found, (names[i], names[j]))
    return (names[0], names[1]) if worst is None else worst[1]
