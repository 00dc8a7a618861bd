"""The models of a run as an immutable value that is cheap to change, also with thousands of models.

Changed populations share structure (hash array mapped tries, package `immutables`), and the ranking
and other derived values are updated incrementally.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from itertools import chain, groupby
from typing import Any

from immutables import Map

from evomerge.domain.model import Model
from evomerge.domain.scores import Scores

Rank = tuple[bool, float, float, int, str]
Elite = tuple[float, Rank]
"""(negated score on the task, rank) of the best model of a task."""
Parents = frozenset[str]

_FEW = 256
"""Ranks that are copied for every model."""


def rank(model: Model) -> Rank:
    """The sort key of M: score, mean for `worst` and `geometric`, earlier generation, name.

    Models that lost a race (journals of earlier versions) come last: their scores are estimates.
    So do models that are kept out, which are in no ranking of a run.
    """
    score, mean = model.worth or (0.0, 0.0)
    return (bool(model.race or model.kept_out), -score, -mean, model.generation, model.name)


@dataclass(frozen=True, eq=False)
class Ranks(Collection[Rank]):
    """Sorted ranks, best first, as a long tuple and a short one of `_FEW` later ranks at most.

    So not all of a hundred thousand ranks are copied when one joins them.
    """

    _most: tuple[Rank, ...] = ()
    _later: tuple[Rank, ...] = ()

    def __iter__(self) -> Iterator[Rank]:
        return merge(self._most, self._later)

    def __len__(self) -> int:
        return len(self._most) + len(self._later)

    def __contains__(self, rank: object) -> bool:
        return rank in self._later or rank in self._most

    def joined_by(self, rank: Rank) -> Ranks:
        """The ranks with one more."""
        later = sorted((*self._later, rank))
        if len(later) < _FEW:
            return replace(self, _later=tuple(later))
        return Ranks(tuple(sorted((*self._most, *later))))


@dataclass(frozen=True, eq=False)
class Population(Mapping[str, Model]):
    """Models by name, ordered by generation and then as proposed.

    Attributes:
        ranks: of the selectable models, best first; the last element is the name.
        elites: the best selectable model of each task.
        kept_out: number of scored models that the guard keeps out.
        unscored: names of models with neither scores nor a failure, in order.
        crossed: sets of parents of all candidates.
        warned: number of models with an evaluation warning, by kind of warning and task.
        failures: number of failed models.
    """

    _models: Map[str, Model] = field(default_factory=Map)
    _born: tuple[tuple[str, ...], ...] = ()
    ranks: Ranks = Ranks()
    elites: Mapping[str, Elite] = field(default_factory=dict)
    kept_out: int = 0
    unscored: tuple[str, ...] = ()
    crossed: Map[Parents, None] = field(default_factory=Map)
    warned: Mapping[tuple[str, str], int] = field(default_factory=dict)
    failures: int = 0

    @classmethod
    def of(cls, models: Iterable[Model]) -> Population:
        """The population of `models`, which keep their order within a generation."""
        ordered = sorted(models, key=lambda model: model.generation)
        population = cls()
        for generation, born in groupby(ordered, key=lambda model: model.generation):
            population = population.joined_by(generation, tuple(born))
        return population

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._born)

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def born(self, generation: int) -> tuple[Model, ...]:
        """The models of a generation, in order; empty if there is no such generation."""
        names = self._born[generation] if 0 <= generation < len(self._born) else ()
        return tuple(self._models[name] for name in names)

    def joined_by(self, generation: int, models: Sequence[Model]) -> Population:
        """The population with the models of a new, later generation.

        Raises:
            ValueError: a name is already taken.
        """
        by_name, crossed = self._models, self.crossed
        for model in models:
            if model.name in by_name:
                raise ValueError(f"{model.name} is in the run already")
            by_name = by_name.set(model.name, model)
            crossed = crossed.set(frozenset(model.parents), None) if model.parents else crossed
        names = tuple(model.name for model in models)
        empty = ((),) * (generation - len(self._born))
        joined = replace(self, _models=by_name, _born=(*self._born, *empty, names), crossed=crossed)
        for model in models:
            joined = _counted(joined, None, model)
        return joined

    def changed(self, model: Model) -> Population:
        """The population with `model` in place of the model of its name.

        Raises:
            KeyError: there is no model of this name.
        """
        before = self._models[model.name]
        changed = replace(self, _models=self._models.set(model.name, model))
        if before.scores is None or before.scores is model.scores:
            return _counted(changed, before, model)
        return Population.of(changed.values())  # changed scores can change every derived value


def _counted(population: Population, before: Model | None, model: Model) -> Population:
    """The population with derived values updated for the change of `before` to `model`."""
    changes: dict[str, Any] = {}
    if before is None and _waits(model):
        changes["unscored"] = (*population.unscored, model.name)
    elif before is not None and _waits(before) and not _waits(model):
        changes["unscored"] = tuple(n for n in population.unscored if n != model.name)
    if model.failure is not None and (before is None or before.failure is None):
        changes["failures"] = population.failures + 1
    if fresh := _troubles(model) - (_troubles(before) if before else set()):
        counts = population.warned
        changes["warned"] = {**counts, **{each: counts.get(each, 0) + 1 for each in fresh}}
    if model.scores is None or (before is not None and before.scores is not None):
        pass  # nothing was scored
    elif not model.selectable:
        changes["kept_out"] = population.kept_out + 1
    else:
        own = rank(model)
        ranks = population.ranks.joined_by(own)
        changes |= {"ranks": ranks, "elites": _elites(population, model.scores, own)}
    return replace(population, **changes) if changes else population


def _waits(model: Model) -> bool:
    """Whether a model is neither scored nor failed."""
    return model.scores is None and model.failure is None


def _troubles(model: Model) -> set[tuple[str, str]]:
    return {(warning.kind, warning.task) for warning in model.warnings}


def _elites(population: Population, scores: Scores, own: Rank) -> Mapping[str, Elite]:
    """The elites, updated with the scores of the model of rank `own`."""
    elites = dict(population.elites)
    for task in scores.tasks:
        mine = (-task.value, own)
        elites[task.task] = min(elites.get(task.task, mine), mine)
    return elites
