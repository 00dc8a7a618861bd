"""The common base of replay, simulation and plan: runs without merges, evaluations or files."""

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
    """A ledger in memory.

    Attributes:
        entries: all events, with times from `now`.
    """

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.state = RunState()
        self.entries: list[Entry] = []
        self._now = now

    def record(self, event: Event) -> None:
        """Append an event and update the state."""
        self.entries.append(Entry(at=self._now(), event=event))
        self.state = apply(self.state, self.entries[-1])


@dataclass
class ImaginedExecutor:
    """An executor that gets all results from two functions.

    Attributes:
        scores: of a foundation model or a child (with a candidate).
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
        """Measure the kinship of the pairs."""
        by_name = {model.name: model for model in models}
        readings = tuple(self.kinship(by_name[a], by_name[b]) for a, b in pairs)
        if readings:
            yield KinshipMeasured(readings=readings, seconds=0.0)

    def score_held_out(self, finalists: Sequence[Model], split: Split) -> Iterator[Event]:
        """No held-out scores."""
        return iter(())

    def prune(self, state: RunState) -> None:
        """No-op: there are no weights."""


def imagined_start(config: Config, names: Sequence[str] = (), gpus: int = 0) -> RunStarted:
    """The first event of an imagined run, with the names of models as content ids.

    Args:
        names: of the foundation models; default: those of the config.
        gpus: the number that the run is to use.
    """
    names = names or [model.short_name for model in config.foundation_models]
    base, *models = (
        Foundation(name=name, source=name, content_id=name, vocabulary=1)
        for name in ("base", *names)
    )
    return run_started(config, base, models, config_id=ENGINE, gpus=gpus)


def points(value: float) -> Scores:
    """Scores with `value`, in points, on a single task."""
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
    """Run the config's search with an imagined executor and return the state at its end.

    Args:
        names: of the foundation models; default: those of the config.
        ledger: empty or of an unfinished run; default: a new one.
        write_recipe: makes recipes; default: from the config's merge section.
    """
    ledger = ledger or MemoryLedger()
    if ledger.state.started is None:
        ledger.record(imagined_start(config, names))
    return search(
        config, ledger, executor, ENGINE, write_recipe=write_recipe, name_child=name_child
    )
