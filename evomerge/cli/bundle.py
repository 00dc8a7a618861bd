"""`evomerge bundle`: write a run to one file."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.api import load
from evomerge.cli.options import runs_dir_option
from evomerge.terminal.figures import size


@click.command()
@click.argument("run")
@click.option(
    "--to", "-o", type=click.Path(path_type=Path, dir_okay=False),
    help="The new file. Default: RUN.zip in the current folder.",
)  # fmt: skip
@click.option("--weights", is_flag=True, help="Pack the weights of the best model too.")
@runs_dir_option
def command(run: str, to: Path | None, weights: bool, runs_dir: Path) -> None:
    """Write RUN to one file, which `evomerge unbundle` unpacks in another place.

    It has the journal, config, evaluations with the answers to every item, kinship and report: all
    that status, report, models, gain, compare and verify need. The same run gives the same file.
    """
    found = load(run, runs_dir)
    made = found.bundle(to or Path(f"{found.name}.zip"), weights=weights)
    click.echo(f"{size(made.stat().st_size):>10}  {made}")
