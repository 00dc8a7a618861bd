"""All models of a run as a table: one row a model, in the order in which they were proposed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from evomerge.domain.events import ModelMerged, ModelScored
from evomerge.domain.lineage import merge_gain
from evomerge.domain.model import Model
from evomerge.domain.references import best_by_task
from evomerge.domain.scores import Split
from evomerge.domain.state import Entry, RunState

Row = dict[str, Any]

COLUMNS = {
    "model": "name",
    "generation": "0 for foundation models",
    "kind": "foundation, or the kind of its merge (greedy, exploration, grid, search, …)",
    "parents": "their names in merge order, separated by ` × `",
    "status": "scored, kept out (by the guard), failed, merged or waiting",
    "rank": "1 for the best",
    "score": "the objective on the selection split, in points",
    "stderr": "its standard error",
    "perplexity": "per token of the guard's text",
    "gain": "score minus the mean score of the parents",
    "gain_over_foundation": "score minus that of the best foundation model",
    "held_out": "the objective on the held-out split",
    "final": "the objective on the final tasks",
    "kinship": "of the parents, by the run's metric, as recorded when they were chosen",
    "method": "merge method",
    "weights": "merge weights of the parents that the strategy chose, in their order",
    "density": "density that the strategy chose, for ties",
    "merge_seconds": "duration of the merge, 0 if its weights existed",
    "evaluation_seconds": "duration of the evaluation",
    "merged_on": "host of a Ray cluster that merged it",
    "scored_on": "host of a Ray cluster that scored it",
    "reused": "whether the scores were in the store already",
    "in_pool": "whether it is in the pool now",
    "reason": "why it was merged, or why it failed or is kept out",
    "content_id": "of its weights",
}
"""The columns of every row and their meaning; those of tasks follow (`model_rows`)."""


def model_rows(entries: Iterable[Entry], state: RunState) -> list[Row]:
    """One row for each model; the same keys in every row, None where a value is unknown.

    After `COLUMNS`, for each task of the selection split: `<task>` (points), `<task> stderr` and
    `<task> kept` (the share of the best foundation model's score; above 1 if it is better); for
    each task of a later split `<task> held_out` or `<task> final`.

    Args:
        entries: the journal, for durations.
        state: its fold.
    """
    spent = _spent(entries)
    tasks = _tasks(state)
    best = {t: top for t, (top, _) in best_by_task(state.at_generation(0), "selection").items()}
    ranks = {model.name: place for place, model in enumerate(state.ranking, start=1)}
    scores = [model.score for model in state.at_generation(0) if model.score is not None]
    top = max(scores, default=None)
    pool = {model.name for model in state.pool} if state.started else set()
    rows = []
    for model in state.models.values():
        row = {**_row(model, state, top), **spent.get(model.name, {})}
        row |= {"rank": ranks.get(model.name), "in_pool": model.name in pool}
        row |= _of_tasks(model, tasks, best)
        rows.append({column: row.get(column) for column in (*COLUMNS, *_names(tasks))})
    return rows


def _row(model: Model, state: RunState, top: float | None) -> Row:
    proposal = model.candidate and model.candidate.proposal
    chosen = proposal and proposal.coefficients
    return {
        "model": model.name,
        "generation": model.generation,
        "kind": model.kind,
        "parents": " × ".join(model.parents) or None,
        "status": model.status,
        "score": model.score,
        "stderr": model.stderr,
        "perplexity": model.perplexity,
        "gain": merge_gain(model, state.models),
        "gain_over_foundation": None if top is None or model.score is None else model.score - top,
        "held_out": model.score_on("held_out"),
        "final": model.score_on("final"),
        "kinship": proposal and proposal.kinship,
        "method": model.candidate and model.candidate.recipe.method,
        "weights": list(chosen.weights) if chosen else None,
        "density": chosen and chosen.density,
        "merged_on": model.merged_on or None,
        "scored_on": model.scored_on or None,
        "reason": model.failure.reason
        if model.failure
        else model.kept_out or (proposal and proposal.reason),
        "content_id": model.content_id,
    }


def _spent(entries: Iterable[Entry]) -> dict[str, Row]:
    """Durations of merges and evaluations by model."""
    found: dict[str, Row] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, ModelMerged):
            found.setdefault(event.model, {})["merge_seconds"] = event.seconds
        elif isinstance(event, ModelScored):
            row = found.setdefault(event.model, {})
            row |= {"evaluation_seconds": event.seconds, "reused": event.reused}
    return found


def _tasks(state: RunState) -> dict[Split, list[str]]:
    """The tasks of each split on which at least one model was scored, in their order."""
    found: dict[Split, dict[str, None]] = {"selection": {}, "held_out": {}, "final": {}}
    for model in state.models.values():
        for split in found:
            scores = model.on(split)
            found[split] |= dict.fromkeys(task.task for task in scores.tasks) if scores else {}
    return {split: list(names) for split, names in found.items()}


def _names(tasks: dict[Split, list[str]]) -> list[str]:
    own = [f"{task}{what}" for task in tasks["selection"] for what in ("", " stderr", " kept")]
    return own + [f"{task} {split}" for split in ("held_out", "final") for task in tasks[split]]


def _of_tasks(model: Model, tasks: dict[Split, list[str]], best: dict[str, float]) -> Row:
    row: Row = {}
    for split in tasks:
        scores = model.on(split)
        for task in scores.tasks if scores else ():
            if split != "selection":
                row[f"{task.task} {split}"] = task.value
                continue
            top = best.get(task.task)
            row[task.task] = task.value
            row[f"{task.task} stderr"] = task.stderr
            row[f"{task.task} kept"] = task.value / top if top else None
    return row
