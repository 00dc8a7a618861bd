"""`evomerge gc`: show, then delete, artefacts that no run needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.store.artefacts import Store
from evomerge.store.gc_roots import states_of, unreferenced
from evomerge.store.run_directory import STORE_FOLDER


@click.command()
@runs_dir_option
@click.option("--yes", is_flag=True, help="Delete the artefacts instead of only showing them.")
@json_option
def command(runs_dir: Path, yes: bool, as_json: bool) -> None:
    """Show the artefacts in the store that no run needs; --yes deletes them.

    These are artefacts that belong to no run, and weights that no run's retention keeps.

    JSON output: {"freed": true|false, "bytes", "artefacts": [{"name", "size", "weights_only"}]}.
    """
    store = Store(runs_dir / STORE_FOLDER)
    found = unreferenced(states_of(runs_dir), store)
    if yes:
        store.sweep()
        for artefact in found:
            artefact.free(store)
    total = sum(artefact.size for artefact in found)
    if as_json:
        document = {"freed": yes, "bytes": total, "artefacts": [asdict(each) for each in found]}
        click.echo(json.dumps(document))
        return
    for artefact in found:
        part = " (weights)" if artefact.weights_only else ""
        click.echo(f"{artefact.size / 1e6:10.1f} MB  {artefact.name}{part}")
    done = "freed" if yes else "can be freed with --yes"
    click.echo(f"{len(found)} artefacts that no run needs, {total / 1e6:.1f} MB {done}")
