"""Start or resume a run and drive it to its end; everything is left resumable on the way."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from evomerge.config import Config
from evomerge.configfile import taken_out
from evomerge.domain.difference import Gains
from evomerge.domain.errors import PreflightError, SignalledError, StoppedError
from evomerge.domain.events import RunResumed, RunStarted
from evomerge.domain.model import Foundation, Model
from evomerge.domain.state import Entry, RunState, apply, fold
from evomerge.ports import Observer, RebuildingExecutor
from evomerge.search import run_started, search
from evomerge.store.atomic import storage_faults
from evomerge.store.journal import Journal, JournalContent, read_journal
from evomerge.store.ledger import JournalLedger, derive
from evomerge.store.run_directory import RunDirectory


class Workplace(Protocol):
    """What a config means on this machine; `evomerge.wiring` has the real one."""

    @property
    def engine(self) -> str:
        """What executes recipes, with its version."""

    def foundation(self) -> tuple[Foundation, tuple[Foundation, ...]]:
        """The base and the foundation models, pinned and checked.

        Raises:
            PreflightError: names every model that cannot be used.
        """

    def versions(self) -> dict[str, str]:
        """Versions of what determines results."""

    def check(self) -> str:
        """Everything that can be known before the first merge; the evaluation id.

        Raises:
            PreflightError: with every problem found.
        """

    def executor(self, observer: Observer) -> RebuildingExecutor:
        """Who does the work; started lazily."""

    def test_gains(self, state: RunState) -> Gains | None:
        """Whether the best model's gains are more than chance; None where it is not tested."""

    def describe(self) -> tuple[str, str, dict[str, object]]:
        """(config id, resolved config as YAML, environment) to record with a new run."""

    def close(self) -> None:
        """End every child process."""


def drive(
    run: RunDirectory,
    config: Config,
    workplace: Workplace,
    observers: Sequence[Observer],
    *,
    accept_drift: bool = False,
) -> RunState:
    """Bring `run` to its end from wherever it stands.

    A finished run is left as it is. The caller made sure that `config` is the run's own.

    Raises:
        LockedError: another process drives the run.
        PreflightError: the run cannot start, or what it builds on has changed since it started.
        StoppedError: it stopped before its end and can be resumed.
    """
    with storage_faults(run.path), run.driven():
        run.check()
        content = read_journal(run.journal) if run.exists else None
        state = fold(content.entries) if content else RunState()
        if state.finished:
            derive(run, state)
            return state
        with closing(workplace), signals_stop():
            if content is None:
                journal, entry = _started(run, workplace, config)
            else:
                journal, entry = _resumed(run, content, state, workplace, config, accept_drift)
            del content  # thousands of events; the state has what matters of them
            with journal:
                ledger = JournalLedger(run, journal, apply(state, entry), observers)
                for observer in observers:
                    observer.happened(entry.event, ledger.state)
                executor = workplace.executor(_Everyone(observers))
                # Whatever was lost of an ancestor is made again from its recipe.
                executor.remember(ledger.state.models.values())
                return search(
                    config, ledger, executor, workplace.engine, test_gains=workplace.test_gains
                )


def rebuild(workplace: Workplace, state: RunState, model: Model, observer: Observer) -> Path:
    """Make the weights of an offspring again; the folder that holds them.

    Raises:
        StoppedError: what was made is not what it was.
        PreflightError: a foundation model is missing or changed.
    """
    with closing(workplace):
        base, foundation = workplace.foundation()
        changes = drift(state.start, base, foundation, {})
        if changes:
            raise PreflightError("\n  ".join(["what the run builds on changed:", *changes]))
        executor = workplace.executor(observer)
        executor.remember(state.models.values())
        return executor.weights(model)


class _Everyone:
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def happened(self, event: object, state: RunState) -> None:
        """Events reach the observers through the ledger."""

    def progressed(self, model: str, activity: str, done: int, total: int) -> None:
        """Tell every observer."""
        for observer in self._observers:
            observer.progressed(model, activity, done, total)


def _resumed(
    run: RunDirectory,
    content: JournalContent,
    state: RunState,
    workplace: Workplace,
    config: Config,
    accept_drift: bool,
) -> tuple[Journal, Entry]:
    """The journal of a known run with its newest entry, after a check of what it builds on."""
    base, foundation = workplace.foundation()
    versions = workplace.versions()
    changes = drift(state.start, base, foundation, versions)
    if workplace.describe()[0] != state.start.config_id:
        changes.append(f"the config changed ({run.config}): its settings gave other results")
        changes += taken_out(run.config)
    changes += evaluation_drift(state, workplace.check())
    if changes and not accept_drift:
        raise PreflightError(
            f"run {run.name} cannot go on as it began:\n  " + "\n  ".join(changes),
            "restore what changed, start a new run, or pass --accept-drift to go on all "
            "the same (it is recorded)",
        )
    resumed = RunResumed(
        versions=versions,
        drift=tuple(changes),
        retention=config.retention,
        skill_kept_at=config.evaluation.skill_kept_at,
    )
    journal, entry = Journal(run.journal, content), Entry(at=time.time(), event=resumed)
    journal.append(entry)
    return journal, entry


def _started(run: RunDirectory, workplace: Workplace, config: Config) -> tuple[Journal, Entry]:
    """The journal of a new run with its first entry, after a check of what it builds on."""
    base, foundation = workplace.foundation()
    versions = workplace.versions()
    workplace.check()
    config_id, text, environment = workplace.describe()
    started = run_started(config, base, foundation, config_id=config_id, versions=versions)
    entry = Entry(at=time.time(), event=started)
    return run.start(entry, text, environment), entry


def drift(
    start: RunStarted,
    base: Foundation,
    foundation: Sequence[Foundation],
    versions: dict[str, str],
) -> list[str]:
    """What is not as it was when the run started, one line each."""
    before = {model.name: model for model in start.foundation}
    lines = [
        f"foundation model {model.name} changed: {before[model.name].content_id} at the start, "
        f"{model.content_id} now"
        for model in foundation
        if model.name in before and before[model.name].content_id != model.content_id
    ]
    if start.base.content_id != base.content_id:
        lines.append(f"the base model changed: {start.base.content_id}, now {base.content_id}")
    return lines + [
        f"{name} {start.versions[name]} at the start, {now} now"
        for name, now in versions.items()
        if name in start.versions and start.versions[name] != now
    ]


def evaluation_drift(state: RunState, evaluation_id: str) -> list[str]:
    """A line if new scores would not be comparable with the recorded ones."""
    recorded = {model.scores.evaluation_id for model in state.ranking if model.scores}
    if recorded <= {evaluation_id}:
        return []
    before = ", ".join(sorted(recorded))
    what = "the evaluation changed (task files, their data, or a library): new scores would not"
    return [f"{what} compare with the recorded ones ({before}, now {evaluation_id})"]


@contextmanager
def signals_stop() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGUSR1 (SLURM) raise `SignalledError`; a second one ends at once.

    Raising in the middle of anything is as safe as a kill: every file is complete or absent.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_DFL)
        name = signal.Signals(signum).name
        raise SignalledError(signum, f"stopped by {name}; everything done is kept")

    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(each, stop) for each in caught]
    try:
        yield
    finally:
        for each, handler in zip(caught, before, strict=True):
            signal.signal(each, handler)


__all__ = ["StoppedError", "Workplace", "drift", "drive", "signals_stop"]
