"""`evomerge tree`: the lineage of a model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import UsageError
from evomerge.domain.state import fold
from evomerge.store.run_directory import find_run
from evomerge.terminal import lineage_tree, stdout_console
from evomerge.terminal.documents import tree_document
from evomerge.terminal.naming import model_named


@click.command()
@click.argument("run")
@click.argument("model", required=False)
@runs_dir_option
@json_option
def command(run: str, model: str | None, runs_dir: Path, as_json: bool) -> None:
    """Draw the lineage of MODEL, or of the best model of RUN (a name or a path).

    \b
    JSON output: {"format": 1, "model": name, "models": [MODEL]}: the model, then all of its
    ancestors, nearest first, each once; MODEL as in `evomerge status --help`.
    """
    directory = find_run(run, runs_dir)
    state = fold(directory.read())
    if model is None:
        if state.best is None:
            raise UsageError(
                f"no model of {directory.name} is scored yet", "name one of its models"
            )
        model = state.best.name
    name = model_named(model, state, directory.name)
    if as_json:
        click.echo(json.dumps(tree_document(state, name), ensure_ascii=False))
    else:
        stdout_console().print(lineage_tree(state, name))
