"""What the loop needs from the world, as protocols; `evomerge.testing` holds fakes of each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from evomerge.domain.events import Event
from evomerge.domain.kinship import KinshipReading, Pair
from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.domain.scores import Part, Scores
from evomerge.domain.state import RunState

Progress = Callable[[int, int], None]
"""Called with (done, total) in units of the work at hand."""


class Merger(Protocol):
    """Executes recipes."""

    @property
    def engine(self) -> str:
        """What executes recipes, with its version; part of every recipe's id."""

    def merge(
        self, recipe: Recipe, inputs: Mapping[str, Path], into: Path, progress: Progress
    ) -> None:
        """Write the complete model of `recipe` into the empty folder `into`.

        Args:
            inputs: the folder of every content id in `recipe.inputs`.

        Raises:
            CandidateError: the merge failed, or a weight of the child is not finite.
        """

    def close(self) -> None:
        """End every process that was started; further merges start new ones."""


class Evaluator(Protocol):
    """Scores models on one part of the configured tasks' items: `selection`, unless asked."""

    @property
    def evaluation_id(self) -> str:
        """The id of everything but the model that determines the scores.

        Raises:
            PreflightError: a task or a metric is not known, or cannot be used.
        """

    def on(self, part: Part) -> Evaluator:
        """The same evaluator for another part; only one of them is at work at a time.

        Raises:
            ValueError: the config has no such part.
        """

    def evaluate(self, model: Path, into: Path, progress: Progress) -> Scores:
        """Score the model in folder `model`: every metric that the evaluation gives.

        Per-sample logs go into the empty folder `into`, and `warnings.json` (a list of
        `EvaluationWarning`) where there are any.

        Raises:
            CandidateError: the evaluation failed, or a score is not finite.
        """

    def chosen(self, measured: Scores) -> Scores:
        """Of everything that an evaluation with this id measured: what counts, and its weight.

        Raises:
            CandidateError: a metric that counts was not measured.
        """

    def close(self) -> None:
        """End every process that was started; further evaluations start new ones."""


class KinshipMeter(Protocol):
    """Measures kinship from weights."""

    def measure(
        self, models: Mapping[str, Path], pairs: Sequence[Pair], progress: Progress
    ) -> list[KinshipReading]:
        """The readings of `pairs`, in their order; the models are named by content id.

        Raises:
            CandidateError: a weight is not finite, or shapes do not agree.
        """

    def close(self) -> None:
        """End every process that was started; further measurements start new ones."""


class Executor(Protocol):
    """Does the work of a generation and tells what is done, in the order of completion.

    The order never matters to a decision. Work that is complete in the store is not done again.
    """

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Score foundation models.

        Raises:
            StoppedError: one of them cannot be scored.
        """

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Merge and score the offspring of a generation; a failed one is an event."""

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """Measure the kinship of `pairs` of `models`, all given by name."""

    def confirm(self, finalists: Sequence[Model], part: Part) -> Iterator[Event]:
        """Score models on `part`, which the search never saw; a failed one is an event."""

    def prune(self, state: RunState) -> None:
        """Let go of weights that no run needs any more (`evomerge.domain.retention`).

        Called only after the event that makes them unneeded was recorded; doing it again is fine.
        """


class RebuildingExecutor(Executor, Protocol):
    """An executor that can make weights again."""

    def remember(self, models: Iterable[Model]) -> None:
        """Learn recipes, so that any ancestor can be made again."""

    def weights(self, model: Model) -> Path:
        """The folder of a model with its weights; pruned or lost ones are made again.

        Raises:
            StoppedError: they are not what they were.
        """


class Ledger(Protocol):
    """The record of a run: what was recorded is never lost."""

    @property
    def state(self) -> RunState:
        """The fold of everything recorded."""

    def record(self, event: Event) -> None:
        """Record an event durably, then let the observers know."""


class Observer(Protocol):
    """Someone who watches a run; never part of a decision."""

    def happened(self, event: Event, state: RunState) -> None:
        """An event was recorded; `state` is the state after it."""

    def progressed(self, model: str, activity: str, done: int, total: int) -> None:
        """Work goes on: `activity` is `merge`, `score` or `kinship`; may come from any thread."""


def record_all(ledger: Ledger, events: Iterable[Event]) -> None:
    """Record events as they come; work under way when that fails is ended at once.

    A generator left to the garbage collector would end it later, in the middle of anything.
    """
    try:
        for event in events:
            ledger.record(event)
    finally:
        if isinstance(events, Generator):
            events.close()
