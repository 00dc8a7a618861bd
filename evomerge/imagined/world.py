"""The imagined world that replay, simulation and plan share: nothing is merged, scored or read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evomerge.config import Config
from evomerge.domain.events import Event, KinshipMeasured, ModelMerged, ModelScored, RunStarted
from evomerge.domain.kinship import KinshipReading, Pair
from evomerge.domain.model import Foundation, Model
from evomerge.domain.scores import Scores, Split, TaskScore
from evomerge.domain.state import Entry, RunState, apply
from evomerge.evolution import NameChild, WriteRecipe, child_name
from evomerge.ports import Executor
from evomerge.search import run_started, search

ENGINE = "imagined"


class MemoryLedger:
    """A ledger that is gone with the process.

    Attributes:
        entries: every event, with the time that `now` tells.
    """

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.state = RunState()
        self.entries: list[Entry] = []
        self._now = now

    def record(self, event: Event) -> None:
        """Fold the event into the state."""
        self.entries.append(Entry(at=self._now(), event=event))
        self.state = apply(self.state, self.entries[-1])


@dataclass
class ImaginedExecutor:
    """An executor that asks two functions for every result.

    Attributes:
        scores: of a model, which is a foundation model or has a candidate.
        kinship: of two scored models.
    """

    scores: Callable[[Model], Scores]
    kinship: Callable[[Model, Model], KinshipReading]

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Score the foundation models."""
        for model in foundation:
            yield ModelScored(model=model.name, scores=self.scores(model), seconds=0.0)

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Score the offspring."""
        for model in offspring:
            yield ModelMerged(model=model.name, seconds=0.0)
            yield ModelScored(model=model.name, scores=self.scores(model), seconds=0.0)

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """The kinship of every pair."""
        by_name = {model.name: model for model in models}
        readings = tuple(self.kinship(by_name[a], by_name[b]) for a, b in pairs)
        if readings:
            yield KinshipMeasured(readings=readings, seconds=0.0)

    def score_held_out(self, finalists: Sequence[Model], split: Split) -> Iterator[Event]:
        """Nobody imagines other items."""
        return iter(())

    def prune(self, state: RunState) -> None:
        """There are no weights."""


def imagined_start(config: Config, names: Sequence[str] = ()) -> RunStarted:
    """The first event of an imagined run; the names of its models are their content ids too.

    Args:
        names: of the foundation models; those of the config if empty.
    """
    names = names or [model.short_name for model in config.foundation_models]
    base, *models = (
        Foundation(name=name, source=name, content_id=name, vocabulary=1)
        for name in ("base", *names)
    )
    return run_started(config, base, models, config_id=ENGINE)


def points(value: float) -> Scores:
    """A score in points that no task is known of."""
    task = TaskScore(task="imagined", metric="score", value=value, samples=1)
    return Scores(evaluation_id="imagined", tasks=(task,))


def imagine(
    config: Config,
    executor: Executor,
    names: Sequence[str] = (),
    ledger: MemoryLedger | None = None,
    *,
    write_recipe: WriteRecipe | None = None,
    name_child: NameChild = child_name,
) -> RunState:
    """Run the config's search in an imagined world; the state at its end.

    The config's tasks are not looked at, nor its models where `names` has others.

    Args:
        names: of the foundation models; those of the config if empty.
        ledger: empty, or one that was left before its end; a new one if None.
        write_recipe: in the place of the config's merge section.
    """
    ledger = ledger or MemoryLedger()
    if ledger.state.started is None:
        ledger.record(imagined_start(config, names))
    return search(
        config, ledger, executor, ENGINE, write_recipe=write_recipe, name_child=name_child
    )
