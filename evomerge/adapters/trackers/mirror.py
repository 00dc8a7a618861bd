"""An observer that forwards events to a tracker in a separate thread.

The run only puts values into a queue, so an exception, a slow network or a call that never returns
in the tracker does not affect it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

from evomerge.adapters.trackers.backends import Tracker
from evomerge.domain.events import (
    CandidateFailed,
    Event,
    GenerationFinished,
    ModelScored,
    RunFinished,
    RunResumed,
)
from evomerge.domain.identity import content_id
from evomerge.domain.lineage import merge_gain
from evomerge.domain.state import RunState

PATIENCE = 20.0
"""Seconds that a tracker has to flush when the driver ends."""

Values = Mapping[str, float]


class Mirror:
    """An `Observer` for one tracker, and a context manager for the lifetime of the driver.

    Args:
        tracker: constructor, called in the mirror's thread so that its import does not block.
        journal: path of the journal; its first line determines the tracker's run id.
        warn: called once if the tracker fails, which is then no longer used.
    """

    def __init__(
        self,
        name: str,
        tracker: Callable[[], Tracker],
        journal: Path,
        warn: Callable[[str], None],
        patience: float = PATIENCE,
    ) -> None:
        self._name = name
        self._make = tracker
        self._journal = journal
        self._warn = warn
        self._patience = patience
        self._queue: SimpleQueue[tuple[int, Values] | None] = SimpleQueue()
        self._off = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive() and not self._off.is_set():
            self._off.set()
            self._warn(f"{self._name} did not take all values in {self._patience:.0f} s")

    def on_event(self, event: Event, state: RunState) -> None:
        """Forward the metrics of an event."""
        if self._off.is_set():
            return
        try:
            if self._thread is None:
                start = (run_id(self._journal), state.start.name, described(state))
                self._thread = threading.Thread(
                    target=self._work, args=start, name=f"tracker {self._name}", daemon=True
                )
                self._thread.start()
            values = told(event, state)
            if values:
                self._queue.put((state.evaluations, values))
        except Exception as error:
            self._fail(error)

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Do nothing: only results are forwarded."""

    def _work(self, identity: str, name: str, settings: Mapping[str, str | int]) -> None:
        try:
            tracker = self._make()
            tracker.start(identity, name, settings)
            while (item := self._queue.get()) is not None:
                tracker.log(*item)
            tracker.finish()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._off.is_set():
            return
        self._off.set()
        while True:  # drain the queue, which has no reader any more
            try:
                self._queue.get_nowait()
            except Empty:
                break
        missing = isinstance(error, ImportError)
        remedy = f"; install it with: pip install 'evomerge[{self._name}]'" if missing else ""
        said = str(error).splitlines()
        why = said[0] if said else ""
        self._warn(
            f"{self._name} is off, the run goes on: {type(error).__name__}: {why[:200]}{remedy}"
        )


def run_id(journal: Path) -> str:
    """32 hex digits that identify a run even if it is moved or resumed."""
    with journal.open("rb") as file:
        first = file.readline()
    return content_id("tracked", 1, first.decode()).partition("-")[2]


def described(state: RunState) -> dict[str, str | int]:
    """The settings of a run for a tracker, without values that could be secret."""
    start = state.start
    return {
        "strategy": start.strategy,
        "k": start.k,
        "kinship": start.metric.value,
        "seed": start.seed,
        "base": start.base.name,
        "foundation_models": ", ".join(model.name for model in start.foundation),
        "config_id": start.config_id,
        **{f"version/{name}": text for name, text in start.versions.items()},
    }


def told(event: Event, state: RunState) -> dict[str, float]:
    """The metrics of an event by series name; empty for most events."""
    match event:
        case ModelScored():
            model = state.models[event.model]
            gain = merge_gain(model, state.models)
            tasks = {f"task/{_plain(t.task)}": t.value for t in event.scores.tasks}
            kinship = model.candidate.proposal.kinship if model.candidate else None
            optional = {
                "merge_gain": gain,
                "parents_kinship": kinship,
                "perplexity": model.perplexity,
            }
            known = {name: value for name, value in optional.items() if value is not None}
            return {"score": model.score or 0.0, **tasks, **known, **_status(state)}
        case GenerationFinished():
            mean = state.kinship.mean(event.pool)  # known where a criterion reads it
            kin = {} if mean is None else {"pool_kinship": mean}
            return {"generation": event.generation, **kin, **_status(state)}
        case RunResumed() | RunFinished() | CandidateFailed():
            return _status(state)
    return {}


def _status(state: RunState) -> dict[str, float]:
    best = state.best
    return {
        **({} if best is None or best.score is None else {"best_score": best.score}),
        "merges": state.merges,
        "evaluations": state.evaluations,
        "failures": state.models.failures,
    }


def _plain(text: str) -> str:
    """`text` reduced to characters that every tracker accepts."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in text)
