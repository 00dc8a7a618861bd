"""What the loop needs from the world, as protocols; `evomerge.testing` holds fakes of each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, Field

from evomerge.domain.events import Event
from evomerge.domain.kinship import Pair
from evomerge.domain.model import Model
from evomerge.domain.scores import Split
from evomerge.domain.state import RunState
from evomerge.domain.value import Value

Progress = Callable[[int, int], None]
"""Called with (done, total) in units of the work at hand."""

Folder = Annotated[Path, AfterValidator(Path.resolve)]
"""Another process may have another working directory, and a worker may change its own."""


class Operation(Value):
    """Work for a worker: JSON and folders, so that it can cross to another process or machine.

    The table of all kinds is in `ARCHITECTURE.md`.

    Attributes:
        arguments: JSON. With the content of `inputs` they determine the answer and what is written.
        inputs: the folders that are read: models by content id, or by what they are to the work.
        into: an empty folder for what is made; its content is worthless after an error.
        seconds: it may take at most; None for no limit.
    """

    kind: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Folder] = Field(default_factory=dict)
    into: Folder | None = None
    seconds: float | None = None

    @property
    def output(self) -> Path:
        """`into`, of a kind that writes."""
        if self.into is None:
            raise ValueError(f"{self.kind!r} needs a folder to write into")
        return self.into


class Worker(Protocol):
    """A place where operations run, one at a time: a child process, an actor on a GPU, a fake."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def kinds(self) -> AbstractSet[str]:
        """The kinds of operations that it does."""

    def start(self) -> None:
        """Warm up while the caller does other work; `run` does it too."""

    def run(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Do an operation; the answer is a JSON object.

        Raises:
            CandidateError: it failed, or its result is not sound; another one may succeed.
            PreflightError: the settings are at fault, so that no other one would succeed.
            StoppedError: the disk is full or failing.
        """

    def close(self) -> None:
        """End whatever was started; may come from any thread.

        What is under way there raises CandidateError at once; a later operation starts afresh.
        """


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

    def score_held_out(self, finalists: Sequence[Model], split: Split) -> Iterator[Event]:
        """Score models on `split`, which the search never saw; a failed one is an event."""

    def prune(self, state: RunState) -> None:
        """Let go of weights that no run needs any more (`evomerge.domain.retention`).

        Called only after the event that makes them unneeded was recorded; doing it again is fine.
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

    def on_event(self, event: Event, state: RunState) -> None:
        """An event was recorded; `state` is the state after it."""

    def on_progress(self, model: str, activity: str, done: int, total: int) -> None:
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
