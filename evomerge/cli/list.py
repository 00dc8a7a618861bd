"""`evomerge list`: all runs of a runs folder."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import DamagedError
from evomerge.domain.state import RunState
from evomerge.store.run_directory import RunDirectory, list_runs
from evomerge.terminal.documents import runs_document
from evomerge.terminal.screen import stdout_console
from evomerge.terminal.status import RunStatus, runs_table


@click.command()
@runs_dir_option
@json_option
def command(runs_dir: Path, as_json: bool) -> None:
    """List all runs of the runs folder, one line each, damaged runs included.

    \b
    JSON output: {"format": 1, "runs": [RUN]}, RUN as in `evomerge status --help` up to "cost";
    "state" may also be "damaged", "damage" says why then.
    """
    statuses = [status_of(directory) for directory in list_runs(runs_dir)]
    for status in statuses:
        if status.damage is not None:
            click.echo(f"{status.name}: {status.damage}", err=True)
    if as_json:
        click.echo(json.dumps(runs_document(statuses), ensure_ascii=False))
    elif statuses:
        stdout_console().print(runs_table(statuses))
    else:
        click.echo(f"no runs below {runs_dir}/", err=True)


def status_of(directory: RunDirectory) -> RunStatus:
    """The status of a run; `damaged` if its journal cannot be read."""
    try:
        return RunStatus.of(directory.name, directory.path, directory.read(), directory.holder())
    except (DamagedError, OSError, ValueError) as error:
        return RunStatus(directory.name, directory.path, RunState(), damage=str(error))
