"""Per-item results of a stored evaluation, read from its sample logs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from evomerge.domain.scores import TaskScore
from evomerge.store.artefacts import Store, problems, read_checked

_POINTS = 100.0
_SAME = 1e-6  # points; summing in another order changes a mean by far less


class NoItemsError(Exception):
    """A task has no per-item results; the message says why, without naming the model."""


def samples_file(task: str) -> str:
    """The name of a task's sample log in the folder of an evaluation."""
    return f"samples_{task.replace('/', '_').replace('::', '__')}.jsonl"


def evaluation_name(content_id: str, evaluation_id: str) -> str:
    """The name of an evaluation in the store."""
    return f"evaluations/{content_id}/{evaluation_id}"


def item_values(store: Store, name: str, score: TaskScore, chosen: str | None) -> dict[int, float]:
    """A task's score on each item, in [0, 1], by the item's index in the task; see `item_rows`."""
    return {item: value for item, (value, _) in item_rows(store, name, score, chosen).items()}


def item_rows(
    store: Store, name: str, score: TaskScore, chosen: str | None
) -> dict[int, tuple[float, dict[str, Any]]]:
    """A task's score on each item, in [0, 1], and what lm-eval logged of it, by its index.

    The mean over items is checked against the recorded score.

    Args:
        name: name of the evaluation in the store.
        chosen: the filter that counts; None if the task has only one.

    Raises:
        NoItemsError: there is no log, or the metric is not a mean over items.
        DamagedError: the content of the log has changed.
    """
    folder = store.path(name)
    if problems(folder, deep=False):
        raise NoItemsError("the store has no per-item results of it")
    if not (folder / samples_file(score.task)).is_file():
        raise NoItemsError(
            f"no sample log of task {score.task!r} (a group logs its member tasks only)"
        )
    found = _rows(read_checked(folder, samples_file(score.task)), score, chosen)
    mean = _POINTS * math.fsum(value for value, _ in found.values()) / len(found)
    if abs(mean - score.value) > _SAME:
        raise NoItemsError(
            f"task {score.task!r} scored {score.value:.4f} points but its items average "
            f"{mean:.4f}: {score.metric} is not a mean over items"
        )
    return found


def _rows(
    log: bytes, score: TaskScore, chosen: str | None
) -> dict[int, tuple[float, dict[str, Any]]]:
    rows = [from_json(line) for line in log.splitlines()]
    filters = {row["filter"] for row in rows}
    if chosen is None and len(filters) > 1:
        raise NoItemsError(f"task {score.task!r} was logged under {len(filters)} filters")
    wanted = [row for row in rows if chosen is None or row["filter"] == chosen]
    if not wanted:
        raise NoItemsError(f"the log of task {score.task!r} has no filter {chosen!r}")
    return {int(row["doc_id"]): (_value(row["metrics"], score), row) for row in wanted}


def _value(metrics: Mapping[str, Any], score: TaskScore) -> float:
    value = metrics.get(score.metric)
    if not isinstance(value, bool | int | float):
        raise NoItemsError(f"task {score.task!r}: {score.metric} is not a number for each item")
    return float(value)
