"""`evomerge resume`: resume a run from its copy of the config."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.api.driving import extension
from evomerge.cli.driving import drive_and_report, driving_options
from evomerge.cli.options import runs_dir_option
from evomerge.configfile import load_recorded
from evomerge.configfile.citing import citing
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
@click.option(
    "--hours",
    type=click.FloatRange(0, min_open=True),
    metavar="H",
    help="Extend a finished run by H hours of work.",
)
@click.option(
    "--cost",
    type=click.FloatRange(0, min_open=True),
    metavar="C",
    help="Extend a finished run until its GPU-hours have cost C more.",
)
@click.option(
    "--price",
    type=click.FloatRange(0, min_open=True),
    help="With --cost: price of one GPU-hour. Default: that of `max_cost`.",
)
@driving_options
def command(
    run: str,
    runs_dir: Path,
    more: int | None,
    hours: float | None,
    cost: float | None,
    price: float | None,
    accept_drift: bool,
    plain: bool,
    as_json: bool,
) -> None:
    """Resume RUN: a name below the runs folder, or a path.

    A finished run is changed by --more, --hours and --cost only; of several, the first that is
    reached ends it. What extended it stands in its journal.
    """
    found = find_own_run(run, runs_dir)
    with citing(found.config):
        drive_and_report(
            found,
            load_recorded(found.config),
            accept_drift=accept_drift,
            plain=plain,
            as_json=as_json,
            more=extension(found, more, hours, cost, price),
        )
