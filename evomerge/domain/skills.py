"""Skills kept: tasks on which a model is nearly as good as the best foundation model.

With any objective a search can lose a skill, if its only holder is weak on other tasks. A model
keeps a skill if it has at least the share `evaluation.skill_kept_at` of the best foundation model's
score on the task; a pool keeps it if a member does. For reports only; no decision depends on it.
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
    """A skill of a model.

    Attributes:
        holder: the best foundation model on the task.
        best: the score of `holder`, in points.
        value: the score of the model, in points.
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
        split: the split on which the model is compared with the foundation models.
        kept_at: the share of `best` at which a skill counts as kept.
    """

    model: str
    split: Split
    kept_at: float
    tasks: tuple[Skill, ...]

    @property
    def kept(self) -> int:
        """The number of kept skills."""
        return sum(skill.kept for skill in self.tasks)

    @property
    def lost(self) -> tuple[Skill, ...]:
        """The skills that are not kept."""
        return tuple(skill for skill in self.tasks if not skill.kept)


def skills_of(state: RunState, model: Model | None = None) -> Skills | None:
    """The skills of `model`, default: the best model; None until all foundation models are scored.

    On the held-out split if the model and all foundation models are scored on it, else on the
    selection split.
    """
    model, foundation = model or state.best, state.at_generation(0)
    held_out = model is not None and model.on("held_out") and is_complete(foundation, "held_out")
    split: Split = "held_out" if held_out else "selection"
    if model is None or model.on(split) is None or not is_complete(foundation, split):
        return None
    tasks = _skills(foundation, [model], split, state.skill_kept_at)
    return Skills(model.name, split, state.skill_kept_at, tasks) if tasks else None


def lost_skills(state: RunState) -> tuple[Skill, ...]:
    """The skills that no member of the pool keeps, on the selection split."""
    foundation = state.at_generation(0)
    if not state.pool or not is_complete(foundation, "selection"):
        return ()
    skills = _skills(foundation, state.pool, "selection", state.skill_kept_at)
    return tuple(skill for skill in skills if not skill.kept)


def _skills(
    foundation: Sequence[Model], models: Sequence[Model], split: Split, kept_at: float
) -> tuple[Skill, ...]:
    """One skill per task on which `models` and foundation models are scored."""
    own, best = best_by_task(models, split), best_by_task(foundation, split)
    return tuple(
        Skill(task, holder, top, own[task][0], own[task][0] >= kept_at * top)
        for task, (top, holder) in best.items()
        if task in own
    )
