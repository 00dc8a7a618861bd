"""`evomerge run`: start a run, or go on with it."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.cli.driving import drive_and_report, driving_options
from evomerge.cli.options import set_option
from evomerge.configfile import anchored, differences, load
from evomerge.domain.errors import UsageError
from evomerge.store.run_directory import RunDirectory


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@set_option
@driving_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    accept_drift: bool,
    plain: bool,
    as_json: bool,
) -> None:
    """Evolve the models of CONFIG, a YAML file.

    The run lives in <run.dir>/<run.name>. If it is there and unfinished, it is resumed; if it is
    finished, nothing is done. Ctrl-C stops it at any time without losing what was done.
    """
    settings = anchored(load(config, overrides), Path.cwd())
    run = RunDirectory(settings.run.dir / settings.run.name)
    if run.exists:
        changed = differences(load(run.config), settings).identity
        if changed:
            raise UsageError(
                f"run {run.name} was started with another config:\n  " + "\n  ".join(changed),
                "give the new one its own `run.name` (what is equal is reused from the store), or "
                f"finish the old one with `evomerge resume {run.name}`",
            )
    drive_and_report(run, settings, accept_drift=accept_drift, plain=plain, as_json=as_json)
