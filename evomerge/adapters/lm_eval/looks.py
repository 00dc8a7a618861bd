"""Scoring in looks: the items of a race in batches, and the results of several as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval.api.metrics import mean, stderr_for_metric

from evomerge.adapters.lm_eval.suite import Entry
from evomerge.domain.errors import CandidateError
from evomerge.domain.scores import Scores, TaskScore
from evomerge.significance.race import Contest

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""lm-eval's sample logs by task."""


def faults_of_races(entries: Iterable[Entry]) -> list[str]:
    """What cannot be raced over: a score must be the mean of its items' results."""
    faults = []
    for entry in entries:
        if entry.final:
            continue
        remedy = "set evaluation.racing to none"
        if entry.loaded["groups"]:
            what = f"{entry.config.name!r} is a group; list its tasks, or {remedy}"
            faults.append(f"{entry.key}.name: evaluation.racing needs items: {what}")
            continue
        metric = entry.result_key.partition(",")[0]
        for task in entry.leaves.values():
            if task.aggregation().get(metric, mean) is not mean:
                what = f"{metric!r} of task {entry.config.name!r} is no mean over items; {remedy}"
                faults.append(f"{entry.key}.metric: evaluation.racing needs one: {what}")
    return faults


def joined(rows: Rows, tasks: Mapping[str, Any], bootstraps: int) -> dict[str, Any]:
    """The results of several looks in the form that lm-eval gives those of one.

    The items are taken in their order, so that a sum does not depend on how they were batched.
    """
    results = {}
    for name, own in rows.items():
        values: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for row in sorted(own, key=lambda row: row["doc_id"]):
            for metric in row["metrics"]:
                values[metric, row["filter"]].append(row[metric])
        found: dict[str, Any] = {"sample_len": len({row["doc_id"] for row in own})}
        for (metric, chosen), each in values.items():
            aggregate = tasks[name].aggregation().get(metric, mean)
            error = stderr_for_metric(aggregate, bootstraps)
            found[f"{metric},{chosen}"] = aggregate(each)
            if error is not None and len(each) > 1:
                found[f"{metric}_stderr,{chosen}"] = error(each)
        results[name] = found
    return {"results": results, "samples": rows}


def contest_of(payload: Mapping[str, Any]) -> Contest:
    """The contest that `payload_of` packed."""
    results = {task: dict(map(tuple, items)) for task, items in payload["results"].items()}
    return Contest(
        **{
            **payload,
            "scores": Scores.model_validate(payload["scores"]),
            "results": results,
            "batches": tuple(payload["batches"]),
        }
    )


def is_out(contest: Contest, rows: Rows) -> bool:
    """Whether the items scored so far stop the race.

    Raises:
        CandidateError: an item has no result, or one outside [0, 1].
    """
    try:
        counted = {task.task: task for task in contest.scores.tasks}
        results = {name: _values(own, counted[name]) for name, own in rows.items()}
        return contest.verdict(results).out
    except (KeyError, ValueError) as error:
        raise CandidateError(f"this evaluation cannot be raced: {error}") from None


def _values(rows: Iterable[Mapping[str, Any]], counted: TaskScore) -> dict[int, float]:
    own = (row for row in rows if row["filter"] == counted.filter)
    return {row["doc_id"]: float(row[counted.metric]) for row in own}
