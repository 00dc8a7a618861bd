"""Replay a strategy over a landscape: what would it have chosen? No model is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evomerge.domain.events import Event, KinshipMeasured, ModelMerged, ModelScored, RunStarted
from evomerge.domain.kinship import KinshipReading, Metric, Pair, pair
from evomerge.domain.landscape import Landscape
from evomerge.domain.model import Foundation, Model, Proposal
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.domain.scores import Part, Scores, TaskScore
from evomerge.domain.state import Entry, RunState, apply
from evomerge.domain.stopping import Criterion
from evomerge.evolution import child_name, evolve
from evomerge.strategies.base import Strategy


class NotRecordedError(Exception):
    """A proposed pair has no recorded child."""


@dataclass(frozen=True)
class ReplayedMerge:
    """One proposed merge; `model` is None where the landscape has no child of the parents."""

    model: str | None
    kind: str
    parents: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Replay:
    """What a strategy chose.

    Attributes:
        generations: the proposed merges of generations 1, 2, …
        pool: names of the last complete pool, best first.
        stop: why the replay ended.
        entries: every event, without times.
    """

    generations: tuple[tuple[ReplayedMerge, ...], ...]
    pool: tuple[str, ...]
    stop: str
    state: RunState
    entries: tuple[Entry, ...]


class MemoryLedger:
    """A ledger that is gone with the process."""

    def __init__(self) -> None:
        self.state = RunState()
        self.entries: list[Entry] = []

    def record(self, event: Event) -> None:
        """Fold the event into the state."""
        self.entries.append(Entry(at=0.0, event=event))
        self.state = apply(self.state, self.entries[-1])


@dataclass(frozen=True)
class RecordedWorld:
    """An executor that looks every result up."""

    landscape: Landscape
    metric: Metric = Metric.PCC

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """The recorded scores."""
        for model in foundation:
            yield ModelScored(model=model.name, scores=self._scores(model.name), seconds=0.0)

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """The recorded children.

        Raises:
            NotRecordedError: a pair has none; nothing of the generation is yielded then.
        """
        missing = [model for model in offspring if model.name not in self.landscape.scores]
        if missing:
            raise NotRecordedError(
                "; ".join(f"{' × '.join(model.parents)} is not recorded" for model in missing)
            )
        for model in offspring:
            yield ModelMerged(model=model.name, seconds=0.0)
            yield ModelScored(model=model.name, scores=self._scores(model.name), seconds=0.0)

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """The recorded kinship of `pairs`; undefined where none is recorded."""
        matrix = self.landscape.matrix(self.metric)
        readings = tuple(
            KinshipReading.model_validate({"models": each, self.metric: matrix.between(*each)})
            for each in pairs
        )
        yield KinshipMeasured(readings=readings, seconds=0.0)

    def confirm(self, finalists: Sequence[Model], part: Part) -> Iterator[Event]:
        """Nothing else is recorded."""
        return iter(())

    def prune(self, state: RunState) -> None:
        """There are no weights."""

    def name(self, generation: int, number: int, proposal: Proposal) -> str:
        """The recorded name of a child; a proposal without one gets a name that no file has."""
        child = self.landscape.child_of.get(pair(*proposal.parents))
        return (
            child.model if child else f"{child_name(generation, number, proposal)} (not recorded)"
        )

    def _scores(self, name: str) -> Scores:
        value = self.landscape.scores[name]
        task = TaskScore(task="landscape", metric="score", value=value, samples=1)
        return Scores(evaluation_id="landscape", tasks=(task,))


def replay(
    landscape: Landscape,
    strategy: Strategy,
    criteria: Sequence[Criterion],
    *,
    metric: Metric = Metric.PCC,
    seed: int = 0,
) -> Replay:
    """Run Algorithm 1 over `landscape` until a criterion stops it or a pair is not recorded."""
    ledger, world = MemoryLedger(), RecordedWorld(landscape, metric)
    ledger.record(_start(landscape, strategy.k, metric, seed))
    try:
        evolve(ledger, strategy, criteria, _write_recipe, world, world.name)
        stop = ledger.state.stop or ""
    except NotRecordedError as missing:
        stop = f"not_recorded: {missing}"
    generations = tuple(
        tuple(
            ReplayedMerge(
                model=candidate.name if candidate.name in landscape.scores else None,
                kind=candidate.proposal.kind,
                parents=candidate.proposal.parents,
                reason=candidate.proposal.reason,
            )
            for candidate in generation.candidates
        )
        for generation in ledger.state.generations[1:]
    )
    pools = [generation.pool for generation in ledger.state.generations if generation.pool]
    return Replay(
        generations, pools[-1] if pools else (), stop, ledger.state, tuple(ledger.entries)
    )


def _start(landscape: Landscape, k: int, metric: Metric, seed: int) -> RunStarted:
    foundation = tuple(
        Foundation(name=name, source=name, content_id=name, vocabulary=1)
        for name in landscape.foundation
    )
    base = Foundation(name="base", source="base", content_id="base", vocabulary=1)
    return RunStarted(
        name=landscape.name,
        seed=seed,
        k=k,
        strategy=landscape.strategy,
        metric=metric,
        base=base,
        foundation=foundation,
        config_id="landscape",
    )


def _write_recipe(proposal: Proposal, parents: Sequence[Model]) -> Recipe:
    ingredients = tuple(Ingredient(model=parent.name) for parent in parents)
    return Recipe(method="recorded", parents=ingredients, base="base", engine="landscape")
