"""Code shared by `run` and `resume`: drive a run and show its progress."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from evomerge.cli.options import json_option
from evomerge.config import Config
from evomerge.configfile import differences, load_recorded
from evomerge.domain.errors import StoppedError, UsageError
from evomerge.domain.finding import Finding
from evomerge.domain.state import RunState, fold
from evomerge.driver import drive
from evomerge.ports import Observer
from evomerge.store.gc_roots import baseline_beside
from evomerge.store.progress_file import ProgressFile
from evomerge.store.run_directory import RunDirectory


def driving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --accept-drift, --plain and --json."""
    command = json_option(command)
    command = click.option("--plain", is_flag=True, help="One line per event, also on a terminal.")(
        command
    )
    return click.option(
        "--accept-drift",
        is_flag=True,
        help="Continue although models or library versions changed since the start.",
    )(command)


def refuse_another_config(run: RunDirectory, config: Config) -> None:
    """Check that an existing run was started with `config`.

    Raises:
        UsageError: it was started with a different config; names the differing keys.
    """
    changed = differences(load_recorded(run.config), config).identity if run.exists else ()
    if changed:
        raise UsageError(
            f"run {run.name} was started with another config:\n  " + "\n  ".join(changed),
            "choose another `run.name` (equal results are reused from the store), or "
            f"finish the old run with `evomerge resume {run.name}`",
        )


def driven(run: RunDirectory, config: Config, *, accept_drift: bool, plain: bool) -> RunState:
    """Drive `run` to its end with progress on stderr."""
    from evomerge.report.refresh import ReportRefresher
    from evomerge.terminal.screen import reporter
    from evomerge.wiring import LocalWorkplace, mirrors_of

    # The view is closed first, so that its summary is visible while the last report is drawn.
    with (
        ExitStack() as stack,
        reporter(sys.stderr, plain=plain) as view,
        ProgressFile(run.progress) as progress_file,
    ):
        observers: list[Observer] = [view, progress_file]

        def fetched(file: str, done: int, total: int) -> None:
            for each in (view, progress_file):
                each.on_progress(file, "fetch", done, total)

        if config.execution.report:
            observers.append(stack.enter_context(ReportRefresher(run, _warn)))
        observers += [stack.enter_context(each) for each in mirrors_of(config, run, _tracker_off)]
        return drive(
            LocalWorkplace(config, run, view.checking, _warn, fetched),
            observers,
            accept_drift=accept_drift,
        )


def drive_and_report(
    run: RunDirectory, config: Config, *, accept_drift: bool, plain: bool, as_json: bool
) -> RunState:
    """Drive `run` to its end with progress on stderr, then print its result to stdout."""
    from evomerge.terminal.documents import result_document
    from evomerge.terminal.summary import result_text

    done_before = _finished(run)
    try:
        state = driven(run, config, accept_drift=accept_drift, plain=plain)
    except StoppedError as stopped:
        if stopped.remedy is None:
            again = "the same command starts it; what was fetched is kept"
            stopped.remedy = f"resume with: {resume_command(run)}" if run.exists else again
        raise
    seen = not done_before and sys.stdout.isatty() and sys.stderr.isatty()
    if as_json:
        click.echo(json.dumps(result_document(state), ensure_ascii=False))
    elif not seen:  # otherwise the summary of the view is on the screen
        click.echo(result_text(state, baseline_beside(run, state)))
    return state


def _warn(finding: Finding | str) -> None:
    click.echo(f"warning: {finding}", err=True)


def _tracker_off(why: str) -> None:
    click.echo(f"warning: {why}", err=True)


def resume_command(run: RunDirectory) -> str:
    """The command that resumes `run` from the current folder."""
    words = ["evomerge", "resume", run.name]
    runs = run.path.parent
    if runs != Path.cwd() / "runs":
        words += ["--dir", str(runs)]
    return shlex.join(words)


def _finished(run: RunDirectory) -> bool:
    return run.exists and fold(run.read()).finished
