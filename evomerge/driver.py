"""Start or resume a run and drive it to its end; everything is left resumable on the way."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from evomerge.config import Config
from evomerge.configfile import removed_settings
from evomerge.domain.difference import Gains
from evomerge.domain.errors import PreflightError, SignalledError, StoppedError
from evomerge.domain.events import RunResumed, RunStarted
from evomerge.domain.model import Foundation, Model
from evomerge.domain.state import Entry, RunState, apply, fold
from evomerge.evolution import TestGains
from evomerge.execution.evaluation import Evaluation
from evomerge.gains import gains_of_best
from evomerge.ports import Observer
from evomerge.search import run_started, search
from evomerge.store.artefacts import Store
from evomerge.store.atomic import storage_faults
from evomerge.store.journal import Journal, JournalContent, read_journal
from evomerge.store.ledger import JournalLedger, derive
from evomerge.store.run_directory import RunDirectory
from evomerge.workplace import Setting, Workplace


def drive(
    workplace: Workplace,
    observers: Sequence[Observer],
    *,
    accept_drift: bool = False,
    test_gains: TestGains | None = None,
) -> RunState:
    """Bring the run of a workplace to its end from wherever it stands.

    A finished run is left as it is. The caller made sure that the config is the run's own.

    Args:
        test_gains: None tests them on the per-item results in the store.

    Raises:
        LockedError: another process drives the run.
        PreflightError: the run cannot start, or what it builds on has changed since it started.
        StoppedError: it stopped before its end and can be resumed.
    """
    run, config = workplace.run, workplace.config
    with storage_faults(run.path), run.driven():
        run.check()
        content = read_journal(run.journal) if run.exists else None
        state = fold(content.entries) if content else RunState()
        if state.finished:
            derive(run, state)
            return state
        with closing(workplace), signals_stop():
            evaluation, setting = workplace.check(), workplace.setting
            versions = {**setting.versions, **config.plugin_versions()}
            setting = replace(setting, versions=versions)
            if content is None:
                journal, entry = _started(run, setting, config)
            else:
                changes = _changes(run, state, setting, evaluation)
                if changes and not accept_drift:
                    raise PreflightError(
                        f"run {run.name} cannot go on as it began:\n  " + "\n  ".join(changes),
                        "restore what changed, start a new run, or pass --accept-drift to go on "
                        "all the same (it is recorded)",
                    )
                journal, entry = _resumed(run, content, setting, config, changes)
            del content  # thousands of events; the state has what matters of them
            with journal:
                ledger = JournalLedger(run, journal, apply(state, entry), observers)
                for observer in observers:
                    observer.on_event(entry.event, ledger.state)
                known = ledger.state.models.values()
                executor = workplace.executor(evaluation, known, _Everyone(observers))
                return search(
                    config,
                    ledger,
                    executor,
                    setting.engine,
                    test_gains=test_gains or partial(_gains, run, config),
                )


def rebuild(workplace: Workplace, state: RunState, model: Model, observer: Observer) -> Path:
    """Make the weights of an offspring again; the folder that holds them.

    Raises:
        StoppedError: what was made is not what it was, or a merge failed.
        PreflightError: a foundation model is missing or changed.
    """
    with closing(workplace):
        setting = workplace.setting
        changes = drift(state.start, setting.base, setting.foundation, {})
        if changes:
            raise PreflightError("\n  ".join(["what the run builds on changed:", *changes]))
        return workplace.weights(state.models.values(), observer).obtain(model)


def _gains(run: RunDirectory, config: Config, state: RunState) -> Gains | None:
    filters = {task.name: task.filter for task in config.evaluation.tasks}
    return gains_of_best(state, Store(run.store), filters)


class _Everyone:
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def on_event(self, event: object, state: RunState) -> None:
        """Events reach the observers through the ledger."""

    def on_progress(self, model: str, activity: str, done: int, total: int) -> None:
        """Tell every observer."""
        for observer in self._observers:
            observer.on_progress(model, activity, done, total)


def _started(run: RunDirectory, setting: Setting, config: Config) -> tuple[Journal, Entry]:
    """The journal of a new run, with its first entry."""
    started = run_started(
        config,
        setting.base,
        setting.foundation,
        config_id=setting.config_id,
        versions=setting.versions,
    )
    entry = Entry(at=time.time(), event=started)
    return run.start(entry, setting.config, setting.environment), entry


def _resumed(
    run: RunDirectory,
    content: JournalContent,
    setting: Setting,
    config: Config,
    changes: Sequence[str],
) -> tuple[Journal, Entry]:
    """The journal of a known run, with its newest entry."""
    resumed = RunResumed(
        versions=setting.versions,
        drift=tuple(changes),
        retention=config.retention,
        skill_kept_at=config.evaluation.skill_kept_at,
    )
    journal, entry = Journal(run.journal, content), Entry(at=time.time(), event=resumed)
    journal.append(entry)
    return journal, entry


def _changes(
    run: RunDirectory, state: RunState, setting: Setting, evaluation: Evaluation
) -> list[str]:
    """What a known run builds on that is not as it was, one line each."""
    changes = drift(state.start, setting.base, setting.foundation, setting.versions)
    if setting.config_id != state.start.config_id:
        changes.append(f"the config changed ({run.config}): its settings gave other results")
        changes += removed_settings(run.config)
    return changes + evaluation_drift(state, evaluation.ids["selection"])


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
