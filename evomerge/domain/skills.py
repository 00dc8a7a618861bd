"""Skills kept: tasks on which a model, or a pool, still does what the best foundation model did.

Whatever the objective, a search can let a whole skill die: its only holder is weaker elsewhere. A
skill is kept by who has a share (`evaluation.skill_kept_at`) of the best foundation model's score
on the task; a pool keeps it where one member does. No decision depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evomerge.domain.model import Model
from evomerge.domain.references import best_by_task, is_complete
from evomerge.domain.scores import Split
from evomerge.domain.state import RunState


@dataclass(frozen=True)
class Skill:
    """What is left of a skill.

    Attributes:
        holder: the best foundation model on the task.
        best: its score, in points.
        value: the score of the model in question, in points.
    """

    task: str
    holder: str
    best: float
    value: float
    kept: bool


@dataclass(frozen=True)
class Skills:
    """The skills of a model.

    Attributes:
        split: the items on which it was compared with the foundation models.
        kept_at: the share of `best` from which a skill is kept.
        tasks: in their order.
    """

    model: str
    split: Split
    kept_at: float
    tasks: tuple[Skill, ...]

    @property
    def kept(self) -> int:
        """How many are kept."""
        return sum(skill.kept for skill in self.tasks)

    @property
    def lost(self) -> tuple[Skill, ...]:
        """Those that are not."""
        return tuple(skill for skill in self.tasks if not skill.kept)


def skills_of(state: RunState, model: Model | None = None) -> Skills | None:
    """The skills of a model of the run, the best one if None.

    On held-out items where it and all foundation models were scored on these, else on those that
    the search sees; None until the foundation models are scored.
    """
    model, foundation = model or state.best, state.at_generation(0)
    held_out = model is not None and model.on("held_out") and is_complete(foundation, "held_out")
    split: Split = "held_out" if held_out else "selection"
    if model is None or model.on(split) is None or not is_complete(foundation, split):
        return None
    tasks = _skills(foundation, [model], split, state.skill_kept_at)
    return Skills(model.name, split, state.skill_kept_at, tasks) if tasks else None


def lost_skills(state: RunState) -> tuple[Skill, ...]:
    """The skills that no member of the pool keeps, on the items that the search sees."""
    foundation = state.at_generation(0)
    if not state.pool or not is_complete(foundation, "selection"):
        return ()
    skills = _skills(foundation, state.pool, "selection", state.skill_kept_at)
    return tuple(skill for skill in skills if not skill.kept)


def _skills(
    foundation: Sequence[Model], models: Sequence[Model], split: Split, kept_at: float
) -> tuple[Skill, ...]:
    """Every task that the foundation models and one of `models` were scored on."""
    own, best = best_by_task(models, split), best_by_task(foundation, split)
    return tuple(
        Skill(task, holder, top, own[task][0], own[task][0] >= kept_at * top)
        for task, (top, holder) in best.items()
        if task in own
    )
