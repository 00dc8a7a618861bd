"""`evomerge watch`: follow a run from another terminal."""

from __future__ import annotations

import difflib
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from evomerge.cli.options import runs_dir_option
from evomerge.domain.state import RunState, apply
from evomerge.store.journal import Tail
from evomerge.store.progress_file import read_progress
from evomerge.store.run_directory import RunDirectory, list_runs, places_of
from evomerge.terminal.live import LiveReporter
from evomerge.terminal.plain import PlainReporter
from evomerge.terminal.screen import reporter

_EVERY = 0.5
"""Seconds between two polls of the journal."""


@click.command()
@click.argument("run")
@runs_dir_option
@click.option("--plain", is_flag=True, help="One line per event, also on a terminal.")
def command(run: str, runs_dir: Path, plain: bool) -> None:
    """Follow RUN, a name below the runs folder or a path, until it ends.

    The output is that of `evomerge run`. Nothing is changed, and Ctrl-C does not stop the run. The
    command waits for a run that does not exist yet, and for a stopped run to be resumed.
    """
    directory = _located(run, runs_dir)
    with reporter(sys.stdout, plain=plain) as view:
        watcher = Watcher(directory, view)
        while not watcher.look():
            time.sleep(_EVERY)


class Watcher:
    """Shows the progress of a run that another process drives."""

    def __init__(self, run: RunDirectory, view: LiveReporter | PlainReporter) -> None:
        self._run = run
        self._view = view
        self._tail = Tail(run.journal)
        self._state = RunState()
        self._note: str | None = None
        self._heard = 0.0

    def look(self) -> bool:
        """Show new events; returns whether the run is finished.

        Raises:
            DamagedError: the journal is damaged, or was replaced by another one.
        """
        entries = [*self._run.named(self._tail.read())]
        for entry in entries:
            self._state = apply(self._state, entry)
            self._view.on_event(entry.event, self._state)
        if entries:
            self._view.behind(max(0.0, time.time() - entries[-1].at))
        if self._state.finished:
            return True
        self._tell(self._status())
        if not self._note:
            self._pass_on_progress()
        return False

    def _status(self) -> str:
        """Why there is no progress; empty while a driver is running."""
        if self._run.holder() is not None:
            fetching = read_progress(self._run.progress)[1]
            at_work = self._state.started or fetching
            return "" if at_work else "its driver checks models, tasks and disk"
        if self._state.started:
            return f"not running; resume with: {self._run.command('resume')}"
        return _no_such_run(self._run)

    def _tell(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self._view.noted(note)

    def _pass_on_progress(self) -> None:
        at, tasks = read_progress(self._run.progress)
        if at == self._heard:
            return
        self._heard = at
        for task in tasks:
            model = self._state.models.get(task.model)
            undone = model is None or (model.scores is None and model.failure is None)
            if undone or self._state.stop is not None:
                self._view.on_progress(**asdict(task))


def _located(run: str, runs_dir: Path) -> RunDirectory:
    """The folder of the run, which need not exist yet."""
    places = places_of(run, runs_dir)
    there = [path for path in places if RunDirectory(path).exists]
    is_path = len(Path(run).parts) > 1
    return RunDirectory((there or places[-1 if is_path else 0 :])[0].resolve())


def _no_such_run(run: RunDirectory) -> str:
    names = [known.name for known in list_runs(run.path.parent)]
    near = difflib.get_close_matches(run.name, names, n=1)
    hint = f"; there is {near[0]}" if near else ""
    return f"no run named {run.name} in {run.path.parent} yet{hint}; waiting for it, Ctrl-C to stop"
