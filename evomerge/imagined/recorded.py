"""Replay a strategy over a landscape: what would it have chosen? No model is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.config import Config
from evomerge.domain.events import Event
from evomerge.domain.kinship import KinshipReading, pair
from evomerge.domain.model import Model, Proposal
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.domain.scores import Scores
from evomerge.domain.state import Entry, RunState
from evomerge.evolution import child_name
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.world import ENGINE, ImaginedExecutor, MemoryLedger, imagine, points


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


def replay_config(landscape: Landscape, **sections: Any) -> Config:
    """The config of a replay: the landscape's strategy and length, except for `sections`.

    Its models, merge method and tasks stand for nothing.
    """
    document = {
        "run": {"name": "replay"},
        "base_model": "base",
        "foundation_models": ["one", "another"],
        "strategy": {"name": landscape.strategy, "k": landscape.k},
        "merge": {"method": "linear"},
        "evaluation": {"tasks": ["recorded"]},
        "stopping": ["pool_unchanged", {"max_generations": landscape.max_generations}],
    }
    return Config.model_validate({**document, **sections})


def replay(landscape: Landscape, config: Config | None = None) -> Replay:
    """Run Algorithm 1 over `landscape` until a criterion stops it or a pair is not recorded.

    Args:
        config: strategy, metric, seed and criteria; default: the landscape's own.
    """
    config = config or replay_config(landscape)
    ledger, executor = MemoryLedger(), _Recorded(landscape, config)
    try:
        imagine(
            config,
            executor,
            [*landscape.foundation],
            ledger,
            write_recipe=_write_recipe,
            name_child=executor.name,
        )
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


class _Recorded(ImaginedExecutor):
    """Looks every result up."""

    def __init__(self, landscape: Landscape, config: Config) -> None:
        super().__init__(self._scores, self._kinship)
        self._landscape = landscape
        self._metric = config.kinship.metric
        self._matrix = landscape.matrix(self._metric)

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """The recorded children.

        Raises:
            NotRecordedError: a pair has none; raised after those that have one.
        """
        recorded = [model for model in offspring if model.name in self._landscape.scores]
        yield from super().breed(recorded)
        if len(recorded) < len(offspring):
            missing = (model for model in offspring if model not in recorded)
            raise NotRecordedError(
                "; ".join(f"{' × '.join(model.parents)} is not recorded" for model in missing)
            )

    def name(self, generation: int, number: int, proposal: Proposal) -> str:
        """The recorded name of a child; a proposal without one gets a name that no file has."""
        child = self._landscape.child_of.get(pair(*proposal.parents))
        return (
            child.model if child else f"{child_name(generation, number, proposal)} (not recorded)"
        )

    def _scores(self, model: Model) -> Scores:
        return points(self._landscape.scores[model.name])

    def _kinship(self, a: Model, b: Model) -> KinshipReading:
        """Undefined where none is recorded."""
        value = self._matrix.between(a.name, b.name)
        return KinshipReading.model_validate({"models": (a.name, b.name), self._metric: value})


def _write_recipe(proposal: Proposal, parents: Sequence[Model]) -> Recipe:
    ingredients = tuple(Ingredient(model=parent.name) for parent in parents)
    return Recipe(method="recorded", parents=ingredients, base="base", engine=ENGINE)
