"""`evomerge status`: progress, best model and pool of a run."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import click

from evomerge.adapters.estimates import pool_pairs, with_estimates
from evomerge.analysis.models import model_rows
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.store.gc_roots import baseline_beside
from evomerge.store.progress_file import read_progress
from evomerge.store.run_directory import RunDirectory, find_run, places_of
from evomerge.terminal.documents import status_document
from evomerge.terminal.figures import fetched, printable
from evomerge.terminal.screen import stdout_console
from evomerge.terminal.status import RunStatus, status_panel


@click.command()
@click.argument("run")
@runs_dir_option
@json_option
def command(run: str, runs_dir: Path, as_json: bool) -> None:
    """Show the status of RUN, a name below the runs folder or a path. It may be running.

    \b
    JSON output (unknown values are null, numbers are not rounded):
    {"format": 1, "name", "path", "state": "running|stopped|finished", "damage": null,
     (before it begins: "state": "preparing", "holder", "tasks": [{"model", "activity": "fetch",
      "done", "total", "seconds"}], and nothing else)
     "strategy", "k", "metric", "seed", "config_id", "generation", "stop",
     "best": MODEL, "best_foundation": MODEL, "gain_over_foundation",
     "held_out_gain_over_foundation", "held_out_splits": ["held_out|final"], "warnings": [text],
     "merges", "evaluations", "held_out_evaluations", "failures", "unscored", "hours",
     "gpu_hours", "budget": {"max_evaluations", "max_hours", "max_cost": {"price_per_gpu_hour",
     "limit"} or null}, "cost": null without a price,
     "reused", "reused_merges", "reused_evaluations", "reused_held_out",
     "gains": null or as in `evomerge gain --help`,
     "baseline": {"run", "evaluations", "model", "score", "held_out"} or null,
     "holder", "tasks": [{"model", "activity": "merge|score|kinship", "done", "total", "seconds",
                          "host": "" for the driver's}], "pool": [MODEL],
     "objective": "mean|worst|relative|geometric",
     "guard": {"text", "worse_than"} or null, "kept_out": number of models that it keeps out,
     "skills": {"model", "part", "kept_at", "kept", "tasks": [{"task", "holder", "best", "value",
                "kept"}]} or null,
     "lost_skills": [{"task", "holder", "best", "pool_best"}],
     "generations": [{"generation", "models": [name], "pool": [name],
                      "pool_kinship", "pool_kinship_error", "best_score"}],
     "models": rows as in `evomerge models --json`,
     "skipped": [{"generation", "kind", "parents": [name], "kinship", "above", "reason"}],
     "last_event", "last_event_at", "last_event_age_seconds", "resume": "command"}
    MODEL: {"name", "kind": "foundation|greedy|exploration|grid|search", "generation", "content_id",
     "parents": [name], "parents_kinship", "merged",
     "merged_on", "scored_on": host of a worker, "score", "stderr", "gain",
     "failure": {"stage", "reason", "attempts"}, "held_out", "selection_gap", "final",
     "perplexity", "kept_out": reason or null}
    """
    if (preparing := _preparing(run, runs_dir)) is not None:
        _tell_preparing(preparing, as_json)
        return
    directory = find_run(run, runs_dir)
    entries = directory.read()
    status = RunStatus.of(directory.name, directory.path, entries, directory.holder())
    baseline = baseline_beside(directory, status.state)
    shown = with_estimates(directory, status.state, pool_pairs(status.state))
    tasks = read_progress(directory.progress)[1] if status.phase == "running" else ()
    status = replace(status, state=shown, baseline=baseline, tasks=tasks)
    resume = directory.command("resume") if status.phase == "stopped" else None
    if as_json:
        document = status_document(status, resume, time.time())
        document["models"] = model_rows(entries, status.state)
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        stdout_console().print(status_panel(status, resume))


def _preparing(run: str, runs_dir: Path) -> RunDirectory | None:
    """The run, if its driver still checks and fetches models."""
    if "\0" in run:
        return None
    places = map(RunDirectory, places_of(run, runs_dir))
    return next((each for each in places if not each.exists and each.holder()), None)


def _tell_preparing(run: RunDirectory, as_json: bool) -> None:
    tasks, holder = read_progress(run.progress)[1], run.holder()
    if as_json:
        document = {
            "format": 1,
            "name": run.name,
            "path": str(run.path),
            "state": "preparing",
            "holder": holder,
            "tasks": [asdict(task) for task in tasks],
        }
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    click.echo(f"{run.name} is being prepared by {holder}: models, tasks and disk are checked")
    for task in tasks:
        click.echo(f"fetching {printable(task.model)}  {fetched(task.done, task.total)}")
