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
from typing import NamedTuple

from immutables import Map

from evomerge.domain.model import Model

Rank = tuple[bool, float, int, str]
Parents = frozenset[str]


def rank(model: Model) -> Rank:
    """The order of M: by score, ties by the earlier generation, then by name.

    Models that lost a race (journals of earlier versions) come last: their scores are estimates.
    """
    return (model.race is not None, -(model.score or 0.0), model.generation, model.name)


class Best(NamedTuple):
    """The best score on one task over all scored models, in points, and whose it is.

    Attributes:
        holder: the name of the model, ties by rank.
    """

    score: float
    holder: str


@dataclass(frozen=True, eq=False)
class Population(Mapping[str, Model]):
    """Models by name: foundation models first, then by generation, in the order of their birth.

    Equal to any mapping of the same names to the same models.

    Attributes:
        ranks: of the scored models, best first; the last part of a rank is the model's name.
        tasks: the best score by task.
        unscored: names of the models without scores that did not fail either, in order.
        crossed: the sets of parents that were merged, or that failed.
    """

    _models: Map[str, Model] = field(default_factory=Map)
    _born: tuple[tuple[str, ...], ...] = ()
    ranks: tuple[Rank, ...] = ()
    tasks: Mapping[str, Best] = field(default_factory=dict)
    unscored: tuple[str, ...] = ()
    crossed: Map[Parents, None] = field(default_factory=Map)

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
        unscored = (*self.unscored, *(model.name for model in models if _waits(model)))
        joined = replace(
            self,
            _models=by_name,
            _born=(*self._born, *nobody, names),
            unscored=unscored,
            crossed=crossed,
        )
        for model in models:
            joined = _ranked(joined, model)
        return joined

    def changed(self, model: Model) -> Population:
        """With `model` in the place of the one of its name.

        Raises:
            KeyError: there is none.
        """
        before = self._models[model.name]
        changed = replace(self, _models=self._models.set(model.name, model))
        if _waits(before) and not _waits(model):
            unscored = tuple(name for name in self.unscored if name != model.name)
            changed = replace(changed, unscored=unscored)
        if before.scores is None:
            return _ranked(changed, model)
        # Scored anew, everything may move.
        return changed if before.scores is model.scores else Population.of(changed.values())


def _ranked(population: Population, model: Model) -> Population:
    """The population with the scores of `model`, one of its own, taken into account."""
    if model.scores is None:
        return population
    own = rank(model)
    ranks = list(population.ranks)
    insort(ranks, own)
    tasks = dict(population.tasks)
    for task, value in ((each.task, each.value) for each in model.scores.tasks):
        known = tasks.get(task) or Best(value, model.name)
        best = min((-known.score, rank(population[known.holder])), (-value, own))
        tasks[task] = Best(-best[0], best[1][-1])
    return replace(population, ranks=tuple(ranks), tasks=tasks)


def _waits(model: Model) -> bool:
    """Whether a model is still to be scored."""
    return model.scores is None and model.failure is None
