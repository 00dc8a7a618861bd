"""The gain and cost of exploration merges."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from evomerge.comparison.members import Member
from evomerge.domain.lineage import ancestors, merge_gain
from evomerge.domain.model import Model
from evomerge.domain.state import RunState


@dataclass(frozen=True)
class Exploration:
    """The exploration offspring of one run.

    Attributes:
        children: how many were proposed; each costs a merge and an evaluation.
        failed: number of children that failed.
        pooled: number of children in the pool at the end of their generation.
        winning: names of children in the lineage of the best model, itself included.
        gain: mean merge gain of the children in points; None if there are no scored children.
        greedy_gain: mean merge gain of the other offspring.
        offspring: number of offspring in the run, of any kind.
    """

    children: int
    failed: int
    pooled: int
    winning: tuple[str, ...]
    gain: float | None
    greedy_gain: float | None
    offspring: int


def exploration_of(member: Member) -> Exploration:
    """The statistics of exploration in a run; all counts are 0 without exploration."""
    state = member.state
    offspring = [model for model in state.models.values() if model.parents]
    explored = [model for model in offspring if model.kind == "exploration"]
    line = {member.best.name, *ancestors(member.best.name, state.models)}
    return Exploration(
        children=len(explored),
        failed=sum(model.failure is not None for model in explored),
        pooled=sum(model.name in _pool(state, model.generation) for model in explored),
        winning=tuple(model.name for model in explored if model.name in line),
        gain=_mean_gain(explored, state),
        greedy_gain=_mean_gain((m for m in offspring if m.kind == "greedy"), state),
        offspring=len(offspring),
    )


def _pool(state: RunState, generation: int) -> tuple[str, ...]:
    return state.generations[generation].pool or ()


def _mean_gain(models: Iterable[Model], state: RunState) -> float | None:
    gains = [gain for m in models if (gain := merge_gain(m, state.models)) is not None]
    return math.fsum(gains) / len(gains) if gains else None
