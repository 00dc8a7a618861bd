"""`evomerge resume`: resume a run from its copy of the config."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.cli.driving import drive_and_report, driving_options
from evomerge.cli.options import runs_dir_option
from evomerge.configfile import load_recorded
from evomerge.store.recorded import find_own_run


@click.command()
@click.argument("run")
@runs_dir_option
@click.option(
    "--more",
    type=click.IntRange(min=1),
    metavar="N",
    help="Extend a finished run by N evaluations, instead of its stopping criteria.",
)
@driving_options
def command(
    run: str, runs_dir: Path, more: int | None, accept_drift: bool, plain: bool, as_json: bool
) -> None:
    """Resume RUN: a name below the runs folder, or a path.

    A finished run is changed by --more only. What extended it stands in its journal.
    """
    found = find_own_run(run, runs_dir)
    drive_and_report(
        found,
        load_recorded(found.config),
        accept_drift=accept_drift,
        plain=plain,
        as_json=as_json,
        more=more,
    )
