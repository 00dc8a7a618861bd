"""`evomerge show`: one model's whole story."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.state import fold
from evomerge.store.run_directory import find_run
from evomerge.terminal import model_panel, stdout_console
from evomerge.terminal.documents import model_document
from evomerge.terminal.naming import model_named


@click.command()
@click.argument("run")
@click.argument("model")
@runs_dir_option
@json_option
def command(run: str, model: str, runs_dir: Path, as_json: bool) -> None:
    """Show one MODEL of RUN: parents, recipe, scores against its parents, why it was made.

    \b
    JSON output: the keys of MODEL as in `evomerge status --help`, and
    {"format": 1, "source", "reason", "parents_mean_score", "metric",
     "kinship": {other model: value}, "recipe": {...}, "children": [name], "rank",
     "scores": {"evaluation_id", "tasks": [{"task", "metric", "value", "stderr", "samples",
                                            "weight"}]}}
    """
    directory = find_run(run, runs_dir)
    state = fold(directory.read())
    name = model_named(model, state, directory.name)
    if as_json:
        click.echo(json.dumps(model_document(state, name), ensure_ascii=False))
    else:
        stdout_console().print(model_panel(state, name))
