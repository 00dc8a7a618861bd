"""An observer that forwards events to a tracker in a separate thread (`adapters.relay`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Self

from evomerge.adapters.relay import PATIENCE, Relay
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
        late = f"{name} did not take all values in {patience:.0f} s"
        self._relay: Relay[tuple[int, Values]] = Relay(
            f"tracker {name}", self._failed, partial(warn, late), patience
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._relay.close()

    def on_event(self, event: Event, state: RunState) -> None:
        """Forward the metrics of an event."""
        if self._relay.off:
            return
        try:
            if not self._relay.begun:
                start = (run_id(self._journal), state.start.name, described(state))
                self._relay.begin(partial(self._track, start))
            values = told(event, state)
            if values:
                self._relay.put((state.evaluations, values))
        except Exception as error:
            self._relay.fail(error)

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Do nothing: only results are forwarded."""

    def _track(
        self,
        start: tuple[str, str, Mapping[str, str | int]],
        points: Iterator[tuple[int, Values]],
    ) -> None:
        tracker = self._make()
        tracker.start(*start)
        for point in points:
            tracker.log(*point)
        tracker.finish()

    def _failed(self, error: BaseException) -> None:
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
