"""The models of a run as an immutable value whose changes cost little, however many there are.

A run of thousands of children folds several events a child. Every change gives a new population
that shares all but a few nodes with the one before (hash array mapped tries, package
`immutables`), and the ranking and what else is asked for at every event is carried along.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from typing import Any

from immutables import Map

from evomerge.domain.model import Model
from evomerge.domain.scores import Scores

Rank = tuple[bool, float, float, int, str]
Elite = tuple[float, Rank]
"""The best model on a task, ties by rank: its score there, negated, and its rank."""
Parents = frozenset[str]


def rank(model: Model) -> Rank:
    """The order of M: by score, ties by the earlier generation, then by name.

    By `worst` and `geometric`, where models without a point on a task are level, ties go by the
    mean first. Models that lost a race (journals of earlier versions) come last: their scores are
    estimates.
    """
    score, mean = model.worth or (0.0, 0.0)
    return (model.race is not None, -score, -mean, model.generation, model.name)


@dataclass(frozen=True, eq=False)
class Population(Mapping[str, Model]):
    """Models by name: foundation models first, then by generation, in the order of their birth.

    Equal to any mapping of the same names to the same models.

    Attributes:
        ranks: of the scored models, best first; the last part of a rank is the model's name.
        elites: by task, the best model on it.
        unscored: names of the models without scores that did not fail either, in order.
        crossed: the sets of parents that were merged, or that failed.
        warned: how many models' evaluations warned, by kind of trouble and task.
        failures: how many models failed.
    """

    _models: Map[str, Model] = field(default_factory=Map)
    _born: tuple[tuple[str, ...], ...] = ()
    ranks: tuple[Rank, ...] = ()
    elites: Mapping[str, Elite] = field(default_factory=dict)
    unscored: tuple[str, ...] = ()
    crossed: Map[Parents, None] = field(default_factory=Map)
    warned: Mapping[tuple[str, str], int] = field(default_factory=dict)
    failures: int = 0

    @classmethod
    def of(cls, models: Iterable[Model]) -> Population:
        """The population of `models`, those of a generation in the order given."""
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
        """The models of one generation, in order; none where there is no such generation."""
        names = self._born[generation] if 0 <= generation < len(self._born) else ()
        return tuple(self._models[name] for name in names)

    def joined_by(self, generation: int, models: Sequence[Model]) -> Population:
        """With the models of a generation that is later than all before it.

        Raises:
            ValueError: a model of that name is here already.
        """
        by_name, crossed = self._models, self.crossed
        for model in models:
            if model.name in by_name:
                raise ValueError(f"{model.name} is in the run already")
            by_name = by_name.set(model.name, model)
            crossed = crossed.set(frozenset(model.parents), None) if model.parents else crossed
        names = tuple(model.name for model in models)
        nobody = ((),) * (generation - len(self._born))
        joined = replace(
            self, _models=by_name, _born=(*self._born, *nobody, names), crossed=crossed
        )
        for model in models:
            joined = _counted(joined, None, model)
        return joined

    def changed(self, model: Model) -> Population:
        """With `model` in the place of the one of its name.

        Raises:
            KeyError: there is none.
        """
        before = self._models[model.name]
        changed = replace(self, _models=self._models.set(model.name, model))
        if before.scores is None or before.scores is model.scores:
            return _counted(changed, before, model)
        return Population.of(changed.values())  # scored anew, everything may move


def _counted(population: Population, before: Model | None, model: Model) -> Population:
    """The population with what became of `model`, one of its own, since `before`."""
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
    if model.scores is not None and (before is None or before.scores is None):
        own = rank(model)
        ranks = list(population.ranks)
        insort(ranks, own)
        changes |= {"ranks": tuple(ranks), "elites": _elites(population, model.scores, own)}
    return replace(population, **changes) if changes else population


def _waits(model: Model) -> bool:
    """Whether a model is still to be scored."""
    return model.scores is None and model.failure is None


def _troubles(model: Model) -> set[tuple[str, str]]:
    return {(warning.kind, warning.task) for warning in model.warnings}


def _elites(population: Population, scores: Scores, own: Rank) -> Mapping[str, Elite]:
    """The elites, the scores of the model of rank `own` taken into account."""
    elites = dict(population.elites)
    for task in scores.tasks:
        mine = (-task.value, own)
        elites[task.task] = min(elites.get(task.task, mine), mine)
    return elites
