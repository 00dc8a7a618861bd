"""Start or resume a run and drive it to its end, resumable at any time."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from evomerge.config import Config
from evomerge.configfile import removed_settings
from evomerge.domain.difference import Gains
from evomerge.domain.errors import (
    PluginError,
    PreflightError,
    SignalledError,
    StoppedError,
    UsageError,
)
from evomerge.domain.events import RunResumed, RunStarted
from evomerge.domain.limits import Limits
from evomerge.domain.model import Foundation, Model
from evomerge.domain.state import Entry, RunState, apply, fold
from evomerge.evolution import TestGains
from evomerge.execution.calibration import calibration_of
from evomerge.execution.evaluation import Evaluation
from evomerge.gains import gains_of_best
from evomerge.ports import Observer
from evomerge.search import run_started, search
from evomerge.stopping import budget_of
from evomerge.store.artefacts import Store
from evomerge.store.atomic import storage_faults
from evomerge.store.journal import Journal, JournalContent
from evomerge.store.ledger import JournalLedger, derive
from evomerge.store.run_directory import RunDirectory
from evomerge.workplace import Setting, Workplace


def drive(
    workplace: Workplace,
    observers: Sequence[Observer],
    *,
    accept_drift: bool = False,
    more: Limits | None = None,
    test_gains: TestGains | None = None,
) -> RunState:
    """Start or resume the run of a workplace and drive it to its end; the final state.

    A finished run does not change, unless it is extended by `more`. The caller has to ensure that
    the config belongs to the run.

    Args:
        accept_drift: resume although models, config or libraries have changed since the start.
        more: extend a finished run by so much, which replaces the stopping criteria.
        test_gains: tests the gains at the end; default: from the per-item results in the store.

    Raises:
        LockedError: another process drives the run.
        UsageError: `more` for a run that has not come to its end.
        PreflightError: the run cannot start, or there is drift that is not accepted.
        StoppedError: the run stopped before its end and can be resumed.
    """
    run, config = workplace.run, workplace.config
    with storage_faults(run.path), run.driven():
        run.check()
        content = run.content() if run.exists else None
        state = fold(content.entries) if content else RunState()
        if more is not None and not state.finished:
            raise UsageError(
                f"run {run.name} has not come to its end, so it cannot be extended",
                f"resume it first: {run.command('resume')}",
            )
        if state.finished and more is None:
            derive(run, state)
            return state
        workplace.started = state.started
        with closing(workplace), signals_stop():
            extended = None if more is None else _extended(state, more, workplace.gpus)
            evaluation, setting = workplace.check(), workplace.setting
            versions = {**setting.versions, **config.plugin_versions()}
            environment = {**setting.environment, "versions": versions}
            setting = replace(setting, versions=versions, environment=environment)
            if content is None:
                journal, entry = _started(workplace, setting, evaluation)
            else:
                changes = _changes(run, state, config, setting, evaluation)
                if changes and not accept_drift:
                    raise PreflightError(
                        f"run {run.name} cannot be resumed:\n  " + "\n  ".join(changes),
                        "restore what changed, start a new run, or pass --accept-drift to resume "
                        "anyway (it is recorded)",
                    )
                journal, entry = _resumed(workplace, content, setting, changes, extended)
            del content  # frees the memory of its events; the state has all of them folded
            with journal:
                ledger = JournalLedger(run, journal, apply(state, entry), observers)
                for observer in observers:
                    observer.on_event(entry.event, ledger.state)
                known = ledger.state.models.values()
                executor = workplace.executor(evaluation, known, _ProgressRelay(observers))
                with _plugins_logged(run):
                    return search(
                        config,
                        ledger,
                        executor,
                        setting.engine,
                        test_gains=test_gains or partial(_gains, run, config),
                    )


def rebuild(workplace: Workplace, state: RunState, model: Model, observer: Observer) -> Path:
    """Merge the weights of an offspring again; returns their folder.

    Raises:
        StoppedError: the weights differ from the original ones, or a merge failed.
        PreflightError: a foundation model is missing or has changed.
    """
    workplace.started = state.start
    with closing(workplace):
        setting = workplace.setting
        changes = drift(state.start, setting.base, setting.foundation, {})
        if changes:
            raise PreflightError("\n  ".join(["the models of the run have changed:", *changes]))
        weights = workplace.weights(state.models.values(), observer, state.start.data_sets)
        return weights.obtain(model)


def _gains(run: RunDirectory, config: Config, state: RunState) -> Gains | None:
    filters = {task.name: task.filter for task in config.evaluation.tasks}
    return gains_of_best(state, Store(run.store), filters)


@contextmanager
def _plugins_logged(run: RunDirectory) -> Iterator[None]:
    """Write the traceback of an error in a plug-in to the run's logs."""
    try:
        yield
    except PluginError as error:
        log = run.logs / "plugins.log"
        with log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
        error.remedy = f"correct it, then resume with --accept-drift; the traceback is in {log}"
        raise


class _ProgressRelay:
    """Forwards progress to several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def on_event(self, event: object, state: RunState) -> None:
        """No-op: the ledger forwards events."""

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Forward to every observer."""
        for observer in self._observers:
            observer.on_progress(model, activity, done, total, host)


def _started(
    workplace: Workplace, setting: Setting, evaluation: Evaluation
) -> tuple[Journal, Entry]:
    """The journal of a new run and its first entry."""
    run, config = workplace.run, workplace.config
    started = run_started(
        config,
        setting.base,
        setting.foundation,
        config_id=setting.config_id,
        versions=setting.versions,
        batch_size=evaluation.batch_size,
        data_sets=evaluation.data_sets,
        calibration=calibration_of(config, evaluation),
        gpus=workplace.gpus,
    )
    entry = Entry(at=time.time(), event=started)
    return run.start(entry, setting.config, setting.environment), entry


def _extended(state: RunState, more: Limits, gpus: int) -> Limits:
    """The budget of a run that goes on for `more`.

    Raises:
        UsageError: it would never end.
    """
    if not gpus and more.max_evaluations is None and more.max_hours is None:
        raise UsageError(
            "the run uses no GPU, so a limit of its cost is never reached",
            "extend it by evaluations (--more 20) or hours (--hours 2)",
        )
    return state.after(more)


def _resumed(
    workplace: Workplace,
    content: JournalContent,
    setting: Setting,
    changes: Sequence[str],
    extended: Limits | None,
) -> tuple[Journal, Entry]:
    """The journal of an existing run and its new last entry."""
    run, config = workplace.run, workplace.config
    resumed = RunResumed(
        versions=setting.versions,
        drift=tuple(changes),
        retention=config.retention,
        skill_kept_at=config.evaluation.skill_kept_at,
        budget=extended or budget_of(config.stopping),
        extends=extended is not None,
        gpus=workplace.gpus,
    )
    journal, entry = Journal(run.journal, content), Entry(at=time.time(), event=resumed)
    journal.append(entry)
    return journal, entry


def _changes(
    run: RunDirectory, state: RunState, config: Config, setting: Setting, evaluation: Evaluation
) -> list[str]:
    """Changes of models, libraries, config and evaluation since the start, one line each."""
    changes = drift(state.start, setting.base, setting.foundation, setting.versions)
    if setting.config_id != state.start.config_id:
        changes.append(f"settings that can change results differ from the start ({run.config})")
        changes += removed_settings(run.config)
    if state.start.calibration != calibration_of(config, evaluation):
        changes.append("what merges learn from changed: items of the tasks, or the anchor's text")
    return changes + evaluation_drift(state, evaluation.ids["selection"])


def drift(
    start: RunStarted,
    base: Foundation,
    foundation: Sequence[Foundation],
    versions: dict[str, str],
) -> list[str]:
    """Changes of models and library versions since the start of the run, one line each."""
    before = {model.name: model for model in start.foundation}
    lines = [
        f"foundation model {model.name} changed: {before[model.name].content_id} at the start, "
        f"{model.content_id} now"
        for model in foundation
        if model.name in before and before[model.name].content_id != model.content_id
    ]
    if start.base.content_id != base.content_id:
        was = start.base.content_id
        lines.append(f"the base model changed: {was} at the start, {base.content_id} now")
    return lines + [
        f"{name} {start.versions[name]} at the start, {now} now"
        for name, now in versions.items()
        if name in start.versions and start.versions[name] != now
    ]


def evaluation_drift(state: RunState, evaluation_id: str) -> list[str]:
    """A line if new scores would not be comparable with the recorded ones, else nothing."""
    recorded = {model.scores.evaluation_id for model in state.ranking if model.scores}
    if recorded <= {evaluation_id}:
        return []
    before = ", ".join(sorted(recorded))
    what = "the evaluation changed (task files, their data, or a library), so new scores would not"
    return [f"{what} be comparable with recorded ones: {before} before, {evaluation_id} now"]


@contextmanager
def signals_stop() -> Iterator[None]:
    """Make SIGINT, SIGTERM and SIGUSR1 (SLURM) raise `SignalledError`; a second signal kills.

    The exception can occur anywhere, which is as safe as a kill: files are complete or absent.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_DFL)
        name = signal.Signals(signum).name
        raise SignalledError(signum, f"stopped by {name}; everything done is kept")

    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = [signal.signal(each, stop) for each in caught]
    try:
        yield
    finally:
        for each, handler in zip(caught, before, strict=True):
            signal.signal(each, handler)


__all__ = ["StoppedError", "Workplace", "drift", "drive", "signals_stop"]
