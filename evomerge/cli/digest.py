"""`evomerge digest`: a hash of a run's decisions, to compare two runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.digest import decision_digest, decisions
from evomerge.domain.state import fold
from evomerge.store.run_directory import find_run


@click.command()
@click.argument("run")
@runs_dir_option
@json_option
def command(run: str, runs_dir: Path, as_json: bool) -> None:
    """Print the decision digest of RUN: a name below the runs folder, or a path.

    It covers recipes, parents, seeds, scores, kinship and selection, but no times, hosts or
    paths: a resumed run has the digest of an uninterrupted one. --json also prints the data
    that is hashed.
    """
    state = fold(find_run(run, runs_dir).read())
    digest = decision_digest(state)
    document = {"digest": digest, "covers": decisions(state)}
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else digest)
