"""Flips: items that a model solves and its parents fail, or the reverse.

The term is from arXiv 2407.09141 (*Accuracy is not all you need*), there for two models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import from_json

from evomerge.domain.model import Model
from evomerge.domain.scores import Split, TaskScore
from evomerge.store.artefacts import Store, read_checked
from evomerge.store.samples import (
    NoItemsError,
    evaluation_name,
    item_rows,
    item_values,
    samples_file,
)

RIGHT = 0.5
"""Items with at least this value of the metric, from 0 to 1, count as solved."""


@dataclass(frozen=True)
class Flip:
    """An item with the answers of the model and its parents.

    Attributes:
        change: `won`: solved, and every parent fails; `lost`: failed, and a parent solves it.
        prompt: the prompt.
        target: the correct answer, as in the task.
        given: answers by name, the model first.
    """

    change: Literal["won", "lost"]
    item: int
    prompt: str
    target: str
    given: Mapping[str, str]


@dataclass(frozen=True)
class TaskFlips:
    """The flips of one task.

    Attributes:
        items: number of items.
        won, lost: number of flips.
        examples: alternating between won and lost, in the order of the items.
        missing: why there are no per-item results; then all counts are 0.
    """

    task: str
    items: int = 0
    won: int = 0
    lost: int = 0
    examples: tuple[Flip, ...] = ()
    missing: str | None = None


def flips(
    store: Store,
    model: Model,
    parents: Sequence[Model],
    filters: Mapping[str, str | None],
    examples: int = 2,
) -> tuple[TaskFlips, ...]:
    """The flips of each task of a model against its parents; empty if one of them is not scored.

    Args:
        filters: lm-eval's filter for each task, None if it has only one.
        examples: maximum number of examples per task.

    Raises:
        DamagedError: a sample log is corrupt.
    """
    if model.scores is None or not parents or any(parent.scores is None for parent in parents):
        return ()
    found = []
    for score in model.scores.tasks:
        try:
            found.append(_task(store, model, parents, score, filters.get(score.task), examples))
        except NoItemsError as error:
            found.append(TaskFlips(score.task, missing=str(error)))
    return tuple(found)


@dataclass(frozen=True)
class Answer:
    """A model's answer to one item of a task.

    Attributes:
        item: index among the task's items.
        target: the correct answer, as in the task.
        answer: the generated text, or the choice of highest likelihood.
        value: the metric on this item, from 0 to 1.
    """

    item: int
    prompt: str
    target: str
    answer: str
    value: float


def answers(
    store: Store, model: Model, task: str, chosen: str | None, split: Split = "selection"
) -> tuple[Answer, ...]:
    """A model's answers to all scored items of a task, by item.

    Args:
        chosen: lm-eval's filter, None if the task has only one.

    Raises:
        NoItemsError: the model was not scored on it, or the store has no per-item results.
        DamagedError: the sample log is corrupt.
    """
    scores = model.on(split)
    score = next((s for s in scores.tasks if s.task == task), None) if scores else None
    if scores is None or score is None:
        raise NoItemsError(f"{model.name} was not scored on task {task!r}")
    name = evaluation_name(model.content_id, scores.evaluation_id)
    rows = item_rows(store, name, score, chosen)
    return tuple(_answer(item, row, value) for item, (value, row) in sorted(rows.items()))


def _answer(item: int, row: Mapping[str, Any], value: float) -> Answer:
    prompt, target = _question(row)
    return Answer(item, prompt, target, _given(row), value)


def _task(
    store: Store,
    model: Model,
    parents: Sequence[Model],
    score: TaskScore,
    chosen: str | None,
    examples: int,
) -> TaskFlips:
    own = _right(store, model, score.task, chosen)
    theirs = [_right(store, parent, score.task, chosen) for parent in parents]
    if any(each.keys() != own.keys() for each in theirs):
        raise NoItemsError(f"{model.name} and its parents were not scored on the same items")
    won = [item for item in own if own[item] and not any(each[item] for each in theirs)]
    lost = [item for item in own if not own[item] and any(each[item] for each in theirs)]
    taken = _in_turn(sorted(won), sorted(lost), examples)
    chosen_flips: tuple[Flip, ...] = ()
    if taken:
        rows = {
            m.name: _rows(store, m.content_id, m.scores.evaluation_id, score.task, chosen)
            for m in (model, *parents)
            if m.scores is not None
        }
        chosen_flips = tuple(_flip(item, item in set(won), model.name, rows) for item in taken)
    return TaskFlips(score.task, len(own), len(won), len(lost), chosen_flips)


def _right(store: Store, model: Model, task: str, chosen: str | None) -> dict[int, bool]:
    score = next((s for s in model.scores.tasks if s.task == task), None) if model.scores else None
    if model.scores is None or score is None:
        raise NoItemsError(f"{model.name} was not scored on it")
    name = evaluation_name(model.content_id, model.scores.evaluation_id)
    try:
        values = item_values(store, name, score, chosen)
    except NoItemsError as error:
        raise NoItemsError(f"{model.name}: {error}") from None
    return {item: value >= RIGHT for item, value in values.items()}


def _in_turn(won: Sequence[int], lost: Sequence[int], count: int) -> list[int]:
    """The first `count` items, alternating between both lists."""
    taken: list[int] = []
    for place in range(max(len(won), len(lost))):
        taken += [*won[place : place + 1], *lost[place : place + 1]]
    return taken[:count]


def _rows(
    store: Store, content_id: str, evaluation_id: str, task: str, chosen: str | None
) -> dict[int, dict[str, Any]]:
    folder = store.path(evaluation_name(content_id, evaluation_id))
    lines = read_checked(folder, samples_file(task)).splitlines()
    rows = (from_json(line) for line in lines)
    return {row["doc_id"]: row for row in rows if chosen is None or row["filter"] == chosen}


def _flip(
    item: int, won: bool, model: str, rows: Mapping[str, Mapping[int, dict[str, Any]]]
) -> Flip:
    prompt, target = _question(rows[model][item])
    return Flip(
        change="won" if won else "lost",
        item=item,
        prompt=prompt,
        target=target,
        given={name: _given(each[item]) for name, each in rows.items()},
    )


def _question(row: Mapping[str, Any]) -> tuple[str, str]:
    """The prompt and the target of an item."""
    requests = row.get("arguments") or [[""]]
    return str(requests[0][0] if requests[0] else ""), _choice(row.get("target"), requests)


def _given(row: Mapping[str, Any]) -> str:
    """The answer of a model: the generated text, or the choice of highest likelihood."""
    filtered, requests = row.get("filtered") or [], row.get("arguments") or []
    if filtered and all(isinstance(each, list) and each for each in filtered):
        likeliest = max(range(len(filtered)), key=lambda place: float(filtered[place][0]))
        return _choice(likeliest, requests)
    return str(filtered[0]) if filtered else ""


def _choice(target: Any, requests: Sequence[Sequence[Any]]) -> str:
    """A target as text; an index becomes the text of the choice."""
    if isinstance(target, int) and 0 <= target < len(requests) > 1 and len(requests[target]) > 1:
        return str(requests[target][1]).strip()
    return str(target)
