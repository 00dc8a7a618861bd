"""`evomerge tree`: draw the lineage of a model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import UsageError
from evomerge.domain.state import RunState, fold
from evomerge.store.run_directory import find_run
from evomerge.terminal.documents import tree_document
from evomerge.terminal.naming import model_named
from evomerge.terminal.screen import stdout_console
from evomerge.terminal.tables import skipped_lines
from evomerge.terminal.tree import lineage_tree


@click.command()
@click.argument("run")
@click.argument("model", required=False)
@runs_dir_option
@json_option
@click.option("--mermaid", is_flag=True, help="As a Mermaid flowchart, for Markdown.")
@click.option("--all", "whole", is_flag=True, help="With --mermaid: all models.")
def command(
    run: str, model: str | None, runs_dir: Path, as_json: bool, mermaid: bool, whole: bool
) -> None:
    """Draw the lineage of MODEL, or of the best model of RUN (a name or a path).

    \b
    JSON output: {"format": 1, "model": name, "models": [MODEL]}: the model, then all of its
    ancestors, nearest first, each once; MODEL and "skipped" as in `evomerge status --help`.
    """
    if as_json and mermaid:
        raise UsageError("--json and --mermaid ask for two outputs", "choose one")
    if whole and (model is not None or not mermaid):
        raise UsageError(
            "--all needs --mermaid, and no MODEL", "`evomerge status RUN` lists all generations"
        )
    directory = find_run(run, runs_dir)
    state = fold(directory.read())
    if mermaid:
        from evomerge.terminal import graph

        root = None if whole else _root(model, state, directory.name)
        click.echo(graph.mermaid(state, graph.members_of(state, root)), nl=False)
        return
    name = _root(model, state, directory.name)
    if as_json:
        click.echo(json.dumps(tree_document(state, name), ensure_ascii=False))
    else:
        console = stdout_console()
        console.print(lineage_tree(state, name))
        if state.skipped:
            console.print("\nskipped merges of the run", style="dim")
            console.print(skipped_lines(state))


def _root(model: str | None, state: RunState, run: str) -> str:
    """The named model, or the best one."""
    if model is not None:
        return model_named(model, state, run)
    if state.best is None:
        raise UsageError(f"no model of {run} is scored yet", "name one of its models")
    return state.best.name
