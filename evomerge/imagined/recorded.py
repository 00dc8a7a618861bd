"""Replay of a strategy over a landscape file, without models."""

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
class Replay:
    """The result of a replay.

    Attributes:
        state: at the end; children that are not recorded have no scores.
        entries: all events; their times are 0.
        missing: the pairs without a recorded child that ended the replay, if any.
    """

    state: RunState
    entries: tuple[Entry, ...]
    missing: str | None

    @property
    def stop(self) -> str:
        """The reason for the end of the replay."""
        return f"not_recorded: {self.missing}" if self.missing else self.state.stop or ""

    @property
    def generations(self) -> list[tuple[Model, ...]]:
        """The children of each generation, from generation 1."""
        return [self.state.at_generation(n) for n in range(1, len(self.state.generations))]


def replay_config(landscape: Landscape, **sections: Any) -> Config:
    """The config of a replay: the landscape's strategy and length, overridden by `sections`.

    Its models, merge method and tasks are placeholders.
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
    """Run Algorithm 1 over `landscape` until a criterion is reached or a pair is not recorded.

    Args:
        config: strategy, metric, seed and criteria; default: those of the landscape.
    """
    config = config or replay_config(landscape)
    ledger, executor, missing = MemoryLedger(), _Recorded(landscape, config), None
    try:
        imagine(
            config,
            executor,
            [*landscape.foundation],
            ledger,
            write_recipe=_write_recipe,
            name_child=executor.name,
        )
    except NotRecordedError as error:
        missing = str(error)
    return Replay(ledger.state, tuple(ledger.entries), missing)


class _Recorded(ImaginedExecutor):
    """An executor that looks up all results in a landscape."""

    def __init__(self, landscape: Landscape, config: Config) -> None:
        super().__init__(self._scores, self._kinship)
        self._landscape = landscape
        self._metric = config.kinship.metric
        self._matrix = landscape.matrix(self._metric)

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Score the recorded children.

        Raises:
            NotRecordedError: a pair has no recorded child; raised after the other children.
        """
        recorded = [model for model in offspring if model.name in self._landscape.scores]
        yield from super().breed(recorded)
        if len(recorded) < len(offspring):
            missing = (model for model in offspring if model not in recorded)
            raise NotRecordedError(
                "; ".join(f"{' × '.join(model.parents)} is not recorded" for model in missing)
            )

    def name(self, generation: int, number: int, proposal: Proposal) -> str:
        """The recorded name of a child, or a name marked as not recorded."""
        child = self._landscape.child_of.get(pair(*proposal.parents))
        return (
            child.model if child else f"{child_name(generation, number, proposal)} (not recorded)"
        )

    def _scores(self, model: Model) -> Scores:
        return points(self._landscape.scores[model.name])

    def _kinship(self, a: Model, b: Model) -> KinshipReading:
        """The recorded kinship; undefined if there is none."""
        value = self._matrix.between(a.name, b.name)
        return KinshipReading.model_validate({"models": (a.name, b.name), self._metric: value})


def _write_recipe(proposal: Proposal, parents: Sequence[Model]) -> Recipe:
    ingredients = tuple(Ingredient(model=parent.name) for parent in parents)
    return Recipe(method="recorded", parents=ingredients, base="base", engine=ENGINE)
