"""`evomerge rm`: show what removing a run frees, then remove it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from evomerge.api import load
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.terminal.figures import count, size


@click.command()
@click.argument("run")
@runs_dir_option
@click.option("--yes", is_flag=True, help="Remove the run instead of only showing what it frees.")
@json_option
def command(run: str, runs_dir: Path, yes: bool, as_json: bool) -> None:
    """Show what removing RUN frees; --yes removes it.

    That is its folder (journal, checkpoints, logs, report), and its artefacts in the store that no
    other run refers to. A run that goes on, or is the baseline of another one, stays.

    JSON output: {"removed": true|false, "run", "bytes", "shared", "artefacts": [{"name", "size",
    "weights_only"}]}.
    """
    removal = load(run, runs_dir).remove(dry_run=not yes)
    found = removal.run
    if as_json:
        artefacts = [asdict(each) for each in removal.artefacts]
        document = {"removed": yes, "run": found.name, "bytes": removal.freed}
        click.echo(json.dumps({**document, "shared": removal.shared, "artefacts": artefacts}))
        return
    for artefact in removal.artefacts:
        part = " (weights)" if artefact.weights_only else ""
        click.echo(f"{size(artefact.size):>10}  {artefact.name}{part}")
    click.echo(f"{size(removal.size):>10}  {found.path}")
    if removal.shared:
        kept = count(removal.shared, "artefact stays", "artefacts stay")
        click.echo(f"{kept}, since other runs have them too")
    done = "freed" if yes else f"would be freed; do it with: {found.command('rm', '--yes')}"
    click.echo(f"{size(removal.freed)} {done}")
