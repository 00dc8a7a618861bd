"""Code shared by `run` and `resume`: drive a run and show its progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from evomerge.api.driving import driven
from evomerge.cli.options import json_option
from evomerge.config import Config
from evomerge.domain.errors import StoppedError
from evomerge.domain.limits import Limits
from evomerge.domain.state import RunState, fold
from evomerge.store.gc_roots import baseline_beside
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


def drive_and_report(
    run: RunDirectory,
    config: Config,
    *,
    accept_drift: bool,
    plain: bool,
    as_json: bool,
    more: Limits | None = None,
) -> RunState:
    """Drive `run` to its end with progress on stderr, then print its result to stdout."""
    from evomerge.terminal.documents import result_document
    from evomerge.terminal.ending import ending_of
    from evomerge.terminal.summary import result_text

    done_before = more is None and _finished(run)
    try:
        state = driven(run, config, accept_drift=accept_drift, plain=plain, more=more)
    except StoppedError as stopped:
        if stopped.remedy is None:
            again = "the same command starts it; what was fetched is kept"
            stopped.remedy = f"resume with: {run.command('resume')}" if run.exists else again
        raise
    seen = not done_before and sys.stdout.isatty() and sys.stderr.isatty()
    ending = ending_of(run, state)
    if as_json:
        document = result_document(state) | {
            "report": ending.report, "weights": ending.weights, "next": list(ending.commands)
        }  # fmt: skip
        click.echo(json.dumps(document, ensure_ascii=False))
        return state
    # On a terminal the summary of the view is on the screen already.
    result = [] if seen else [result_text(state, baseline_beside(run, state), run.command("tree"))]
    click.echo("\n".join([*result, *ending.lines]))
    return state


def _finished(run: RunDirectory) -> bool:
    return run.exists and fold(run.read()).finished
