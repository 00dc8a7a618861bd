"""`evomerge show`: details of one model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from evomerge.adapters.estimates import with_estimates
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import UsageError
from evomerge.domain.kinship import pair
from evomerge.domain.model import Model
from evomerge.domain.state import RunState, fold
from evomerge.flips import TaskFlips, flips
from evomerge.gains import filters_of
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import RunDirectory, find_run
from evomerge.terminal.documents import model_document
from evomerge.terminal.naming import model_named
from evomerge.terminal.panel import model_panel
from evomerge.terminal.screen import stdout_console


@click.command()
@click.argument("run")
@click.argument("model")
@runs_dir_option
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Examples of each task that the model won or lost against its parents.",
)
@click.option("--yaml", "as_yaml", is_flag=True, help="Print mergekit's configuration only.")
@json_option
def command(
    run: str, model: str, runs_dir: Path, samples: int, as_yaml: bool, as_json: bool
) -> None:
    """Show one MODEL of RUN: parents, recipe, scores beside its parents', reason of the merge.

    Items that it answers correctly and all parents wrongly ("won"), and that it answers wrongly
    and a parent correctly ("lost"), are counted, with examples. mergekit's configuration names
    models by content id, so run it in a folder that has them under these names.

    \b
    JSON output: the keys of MODEL as in `evomerge status --help`, and
    {"format": 1, "source", "reason", "parents_mean_score", "metric",
     "kinship": {other model: value}, "kinship_errors": {other model: half an interval, where it
     is an estimate}, "recipe": {...}, "children": [name], "rank",
     "scores": {"evaluation_id", "tasks": [{"task", "metric", "value", "stderr", "samples",
                                            "weight", "filter"}]},
     "held_out": {"held_out|final": scores, or a failure}, "warnings": [text],
     "mergekit": text,
     "answers": [{"task", "items", "won", "lost", "missing",
                  "examples": [{"change": "won|lost", "item", "prompt", "target",
                                "given": {name: text}}]}]}
    """
    directory = find_run(run, runs_dir)
    state = fold(directory.read())
    subject = state.models[model_named(model, state, directory.name)]
    others = [pair(subject.name, other.name) for other in state.ranking if other is not subject]
    state = with_estimates(directory, state, others)
    config = _mergekit(subject)
    if as_yaml:
        if config is None:
            raise UsageError(f"{subject.name} is a foundation model, nothing was merged")
        click.echo(config, nl=False)
        return
    told = _flips(directory, state, subject, samples)
    if as_json:
        document = model_document(state, subject.name)
        extra = {"mergekit": config, "answers": [asdict(task) for task in told]}
        click.echo(json.dumps({**document, **extra}, ensure_ascii=False))
        return
    _print(state, subject, config, told)


def _print(
    state: RunState, subject: Model, config: str | None, told: tuple[TaskFlips, ...]
) -> None:
    from rich.text import Text

    from evomerge.terminal.flips import flips_view

    console = stdout_console()
    console.print(model_panel(state, subject.name))
    if told:
        console.print(flips_view(told))
    if config is not None:
        console.print(Text("\nmergekit's configuration, models under their content ids", "dim"))
        click.echo(config, nl=False)


def _mergekit(model: Model) -> str | None:
    """The mergekit configuration of a model, as stored with its weights."""
    from evomerge.adapters.mergekit import mergekit_yaml

    return None if model.candidate is None else mergekit_yaml(model.candidate.recipe)


def _flips(
    run: RunDirectory, state: RunState, model: Model, examples: int
) -> tuple[TaskFlips, ...]:
    parents = [state.models[parent] for parent in model.parents]
    return flips(Store(run.store), model, parents, filters_of(run), examples)
