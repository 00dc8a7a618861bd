"""`evomerge rename`: give a run another name."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.api import load
from evomerge.cli.options import runs_dir_option


@click.command()
@click.argument("run")
@click.argument("new")
@runs_dir_option
def command(run: str, new: str, runs_dir: Path) -> None:
    """Rename RUN to NEW: its folder, and its name in all that is shown.

    Nothing else changes: not its results, nor what it shares with other runs in the store.
    """
    renamed = load(run, runs_dir).rename(new)
    click.echo(f"{run} is {renamed.path}")
