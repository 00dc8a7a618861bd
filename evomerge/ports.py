"""The interfaces of the loop, as protocols; `evomerge.testing` has a fake of each."""

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
"""Callback for progress: (done, total) in units of the operation."""


class HostedProgress(Protocol):
    """Callback for progress that is also told on which host, empty on this machine."""

    def __call__(self, done: int, total: int, host: str = "") -> None:
        """`done` of `total` units of the operation are done on `host`."""


Folder = Annotated[Path, AfterValidator(Path.resolve)]
"""An absolute path, since workers can have other working directories."""


class Operation(Value):
    """Work for a worker: JSON and folders, so that it can be sent to another process or machine.

    `ARCHITECTURE.md` has a table of all kinds.

    Attributes:
        arguments: JSON. They and the content of `inputs` determine the result.
        inputs: folders to read: models by content id or by role.
        into: an empty folder for the output; its content is undefined after an error.
        seconds: time limit; None for no limit.
    """

    kind: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Folder] = Field(default_factory=dict)
    into: Folder | None = None
    seconds: float | None = None

    @property
    def output(self) -> Path:
        """`into`.

        Raises:
            ValueError: it is None.
        """
        if self.into is None:
            raise ValueError(f"{self.kind!r} needs a folder to write into")
        return self.into


class Worker(Protocol):
    """Runs operations, one at a time: a child process, an actor on a GPU, a fake."""

    @property
    def name(self) -> str:
        """The name in messages."""

    @property
    def kinds(self) -> AbstractSet[str]:
        """The supported kinds of operations."""

    @property
    def host(self) -> str:
        """The machine on which it runs; empty for this one, or if it is not known yet."""

    def start(self) -> None:
        """Start in the background; optional, since `run` does so if needed."""

    def run(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Run an operation and return its result, a JSON object.

        Raises:
            CandidateError: it failed, or its result is invalid; other operations may succeed.
            PreflightError: the settings are invalid, so that every operation would fail.
            StoppedError: the disk is full or failing.
        """

    def close(self) -> None:
        """Stop the worker; can be called from any thread.

        A running operation raises CandidateError. The next operation starts the worker again.
        """


class Executor(Protocol):
    """Does the work of a generation and yields events in the order of completion.

    No decision depends on that order. Results that are in the store are reused.
    """

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Score foundation models.

        Raises:
            StoppedError: a model cannot be scored.
        """

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Merge and score the offspring of a generation; failures are events."""

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """Measure the kinship of `pairs` (names) of `models`."""

    def score_held_out(self, finalists: Sequence[Model], split: Split) -> Iterator[Event]:
        """Score models on a held-out split; failures are events."""

    def prune(self, state: RunState) -> None:
        """Delete weights that no run needs any more (`evomerge.domain.retention`). Idempotent.

        Called after the event that makes them unneeded was recorded.
        """


class Ledger(Protocol):
    """The durable record of a run."""

    @property
    def state(self) -> RunState:
        """The fold of all recorded events."""

    def record(self, event: Event) -> None:
        """Record an event durably, then notify the observers."""


class Observer(Protocol):
    """Receives the events and the progress of a run; no decision depends on it."""

    def on_event(self, event: Event, state: RunState) -> None:
        """An event was recorded; `state` is the state after it."""

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """`activity` (`merge`, `score`, `kinship`) has progressed; called from any thread.

        `host` is the machine on which it runs, empty for this one.
        """


def record_all(ledger: Ledger, events: Iterable[Event]) -> None:
    """Record events as they come, and close the generator if that fails, which stops its work.

    The garbage collector would close it at an arbitrary later time.
    """
    try:
        for event in events:
            ledger.record(event)
    finally:
        if isinstance(events, Generator):
            events.close()
