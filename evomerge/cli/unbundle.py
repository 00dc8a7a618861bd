"""`evomerge unbundle`: unpack a run from a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.api import unbundle
from evomerge.cli.options import runs_dir_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="Name of the run. Default: its own.")
@runs_dir_option
def command(file: Path, name: str | None, runs_dir: Path) -> None:
    """Unpack FILE, written by `evomerge bundle`, as a run of the runs folder.

    What the store has already stays. Other runs of this folder reuse what the bundle adds: unpack a
    file from someone you do not trust into a folder of its own, with --dir.
    """
    run = unbundle(file, runs_dir, name=name)
    click.echo(f"{run.path}; look at it with: {run.command('status')}")
