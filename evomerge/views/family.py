"""Layout of the family tree: generations in rows, few edge crossings. Pure geometry.

If a run has too many models for one figure, the best model, its ancestors and the best others of
each generation are shown, and the hidden ones are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evomerge.domain.lineage import ancestors
from evomerge.domain.model import Model
from evomerge.domain.population import Rank, rank
from evomerge.domain.state import RunState

BUDGET = 110
"""The largest number of models in the figure."""

_SWEEPS = 6


@dataclass(frozen=True)
class Row:
    """The visible models of one generation, from left to right.

    Attributes:
        hidden: number of models of the generation that are not shown.
        until: the last generation of a gap, if this row represents several generations without
            visible models; otherwise None.
    """

    generation: int
    models: tuple[str, ...]
    hidden: int = 0
    until: int | None = None


@dataclass(frozen=True)
class Family:
    """The rows of a tree, foundation models first; `place` is x from 0 to 1 by name.

    Attributes:
        edges: (parent, child) of all shown models.
    """

    rows: tuple[Row, ...]
    place: Mapping[str, float]
    edges: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> frozenset[str]:
        """The names that are shown."""
        return frozenset(self.place)


def family_of(state: RunState) -> Family | None:
    """The tree of a run; None without descent: if foundation models are the only parents."""
    first = {model.name for model in state.at_generation(0)}
    if all(set(model.parents) <= first for model in state.models.values()):
        return None
    return family(state)


def family(state: RunState, budget: int = BUDGET) -> Family:
    """Lay out at most `budget` models of a run."""
    shown = _chosen(state, budget)
    layers = [
        (g.number, [m.name for m in state.at_generation(g.number) if m.name in shown])
        for g in state.generations
    ]
    parents = {name: [p for p in state.models[name].parents if p in shown] for name in shown}
    order = _ordered([names for _, names in layers if names], parents)
    place = {name: x for names in order for name, x in _spread(names).items()}
    by_generation = {state.models[names[0]].generation: tuple(names) for names in order}
    rows: list[Row] = []
    for number, _ in layers:
        names = by_generation.get(number, ())
        hidden = len(state.at_generation(number)) - len(names)
        if not names and rows and not rows[-1].models:
            rows[-1] = Row(rows[-1].generation, (), rows[-1].hidden + hidden, number)
        elif names or hidden:
            rows.append(Row(number, names, hidden, None if names else number))
    edges = tuple((parent, name) for name in place for parent in parents[name])
    return Family(tuple(rows), place, edges)


def _chosen(state: RunState, budget: int) -> set[str]:
    """The best model and its ancestors, then evenly from every generation, best first."""
    if len(state.models) <= budget:
        return set(state.models)
    best = state.best
    line = [] if best is None else [best.name, *ancestors(best.name, state.models)]
    chosen = set(line[: budget * 3 // 4])
    by_rank = [sorted(state.at_generation(g.number), key=_rank) for g in state.generations]
    for turn in range(max(map(len, by_rank))):
        for born in by_rank:
            if turn < len(born) and len(chosen) < budget:
                chosen.add(born[turn].name)
    return chosen


def _rank(model: Model) -> tuple[bool, Rank]:
    return (model.scores is None, rank(model))


def _ordered(
    layers: Sequence[Sequence[str]], parents: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """Order each layer for short edges: barycentres, down and up (Sugiyama 1981)."""
    order = [list(names) for names in layers]
    children: dict[str, list[str]] = {name: [] for names in order for name in names}
    for name, above in parents.items():
        for parent in above:
            children[parent].append(name)
    best, least = [*map(list, order)], _length(order, parents)
    for sweep in range(_SWEEPS):
        neighbours = parents if sweep % 2 == 0 else children
        for names in order if sweep % 2 == 0 else reversed(order):
            place = {name: x for layer in order for name, x in _spread(layer).items()}
            centre = {
                name: sum(place[n] for n in near) / len(near)
                if (near := neighbours[name])
                else place[name]
                for name in names
            }
            names.sort(key=lambda name: (centre[name], place[name]))
        length = _length(order, parents)
        if length < least:
            best, least = [list(names) for names in order], length
    return best


def _spread(names: Sequence[str]) -> dict[str, float]:
    return {name: (index + 0.5) / len(names) for index, name in enumerate(names)}


def _length(order: Sequence[Sequence[str]], parents: Mapping[str, Sequence[str]]) -> float:
    place = {name: x for names in order for name, x in _spread(names).items()}
    return sum(abs(place[name] - place[p]) for name, above in parents.items() for p in above)
