"""`evomerge gain`: significance tests for the gains of a run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import UsageError
from evomerge.domain.scores import Split
from evomerge.domain.state import RunState, fold
from evomerge.gains import ItemResults, Matches, compare, filters_of, matches_of_best, split_of_best
from evomerge.store.artefacts import Store
from evomerge.store.recorded import find_own_run
from evomerge.terminal.documents import gains_document
from evomerge.terminal.gains import gains_panel
from evomerge.terminal.naming import model_named
from evomerge.terminal.screen import stdout_console


@click.command()
@click.argument("run")
@click.argument("models", nargs=-1, metavar="[A B]")
@runs_dir_option
@click.option("--by-task", is_flag=True, help="Also show each task.")
@json_option
def command(
    run: str, models: tuple[str, ...], runs_dir: Path, by_task: bool, as_json: bool
) -> None:
    """Test whether the differences between models of RUN are significant.

    A against B, or, without names, the best model against every foundation model and its
    parents, on held-out items if all of them were scored there. The tests are paired by item:
    the difference in points of the run's objective with its 95 % interval, and p, with Holm's
    correction over all comparisons of the table.

    \b
    JSON output: {"format": 1, "run", "split": "selection|held_out", "missing": [text],
     "objective": "mean|worst|relative|geometric",
     "comparisons": [{"a", "b", "relation": "foundation|parent|model", "certain", "corrected",
       "difference": {"value", "low", "high", "p", "items",
                      "test": "mcnemar|permutation|bootstrap"},
       "tasks": [{"task", "a", "b", "difference": {...}}]}]}
    """
    if len(models) not in {0, 2}:
        raise UsageError(f"gain takes two models or none, not {len(models)}")
    found = find_own_run(run, runs_dir)
    state = fold(found.read())
    matches = _chosen(models, state, found.name) if models else matches_of_best(state)
    if not matches:
        raise UsageError(f"run {found.name} has no two scored models to compare yet")
    split = _split(matches) if models else split_of_best(state)
    results = ItemResults(Store(found.store), filters_of(found), lambda model: model.on(split))
    gains = compare(results, matches, split, state.objectives[split])
    if as_json:
        click.echo(json.dumps(gains_document(found.name, gains), ensure_ascii=False))
    else:
        stdout_console().print(gains_panel(gains, by_task, chosen=bool(models)))


def _split(matches: Matches) -> Split:
    """The held-out split if both models of every pair were scored on it, else selection."""
    return (
        "held_out"
        if all(a.on("held_out") and b.on("held_out") for a, b, _ in matches)
        else ("selection")
    )


def _chosen(names: tuple[str, ...], state: RunState, run: str) -> Matches:
    """The two models that the user named, which must have scores."""
    a, b = (state.models[model_named(name, state, run)] for name in names)
    if a is b:
        raise UsageError(f"{a.name} cannot be compared with itself")
    for model in (a, b):
        if model.scores is None:
            raise UsageError(f"{model.name} has no scores")
    return [(a, b, "model")]
