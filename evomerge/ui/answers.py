"""Answers of models to the items of tasks, searchable and page by page.

A sample log of 100,000 items has hundreds of megabytes. It is read and checked once, and its
texts go to a temporary database (SQLite) that is deleted with the process; nothing is written below
the runs folder.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal, get_args

from evomerge.domain.model import Model
from evomerge.domain.scores import Split
from evomerge.flips import RIGHT, answers
from evomerge.store.artefacts import Store

Outcome = Literal["all", "won", "lost", "both wrong", "both right"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
PAGE = 20
"""Items on a page."""
_MOST_LOGS = 40
"""Logs kept in the database; those used longest ago go first."""

_TABLE = """
PRAGMA page_size = 16384;
PRAGMA cache_size = -256000;
CREATE TABLE answers (log, item, value, answer, target, prompt);
CREATE INDEX items ON answers (log, item);
"""
"""Texts lie in the order of the log, in pages that hold a few; up to 256 MB stay in memory."""


@dataclass(frozen=True)
class _Log:
    number: int
    items: frozenset[int]
    solved: frozenset[int]


@dataclass(frozen=True)
class Given:
    """A model's answer to an item; `right` if the item counts as solved."""

    model: str
    answer: str
    value: float
    right: bool


@dataclass(frozen=True)
class Item:
    """An item with the answers of the model, first, and of the others."""

    item: int
    prompt: str
    target: str
    given: tuple[Given, ...]


@dataclass(frozen=True)
class Page:
    """One page of the items that were asked for.

    Attributes:
        counts: items by outcome among those with the words looked for.
        number: of the page, from 1.
        pages: number of pages, at least 1.
    """

    items: tuple[Item, ...]
    counts: Mapping[Outcome, int]
    number: int
    pages: int


class Answers:
    """The answers of models, read from the store when they are first asked for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._logs: OrderedDict[tuple[str, ...], _Log] = OrderedDict()
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.create_function("has", -1, _has, deterministic=True)
        self._database.executescript(_TABLE)
        self._searched: tuple[object, frozenset[int]] = (None, frozenset())

    def page(
        self,
        store: Store,
        models: Sequence[Model],
        task: str,
        chosen: str | None,
        split: Split,
        *,
        outcome: Outcome = "all",
        words: str = "",
        number: int = 1,
    ) -> Page:
        """A page of a task's items, by their index in the task.

        Args:
            models: the model, then those that its answers are shown beside.
            chosen: lm-eval's filter, None if the task has only one.
            outcome: `won`: the model is right and all others are wrong; `lost`: it is wrong and one
                of the others is right; the rest likewise.
            words: all of them are in the prompt, the target or one of the answers, in any case.
            number: of the page; one that is too high is the last.

        Raises:
            NoItemsError: a model was not scored on the task, or has no per-item results of it.
            DamagedError: a sample log is corrupt.
        """
        with self._lock:
            logs = [self._log(store, model, task, chosen, split) for model in models]
            self._forget(keep=len(logs))
            found = _by_outcome(logs[0], logs[1:])
            if words.split():
                having = self._having(logs, words.casefold().split())
                found = {name: items & having for name, items in found.items()}
            pages = max(1, -(-len(found[outcome]) // PAGE))
            number = min(max(1, number), pages)
            shown = sorted(found[outcome])[(number - 1) * PAGE : number * PAGE]
            items = tuple(self._item(item, logs, models) for item in shown)
        counts = {name: len(items) for name, items in found.items()}
        return Page(items, counts, number, pages)

    def _log(self, store: Store, model: Model, task: str, chosen: str | None, split: Split) -> _Log:
        scores = model.on(split)
        key = (str(store.root), model.content_id, scores.evaluation_id if scores else "", task)
        if key not in self._logs:
            read = answers(store, model, task, chosen, split)
            self._count += 1
            with self._database:
                self._database.executemany(
                    "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                    ((self._count, a.item, a.value, a.answer, a.target, a.prompt) for a in read),
                )
            solved = frozenset(each.item for each in read if each.value >= RIGHT)
            self._logs[key] = _Log(self._count, frozenset(each.item for each in read), solved)
        self._logs.move_to_end(key)
        return self._logs[key]

    def _forget(self, keep: int) -> None:
        while len(self._logs) > max(keep, _MOST_LOGS):
            _, log = self._logs.popitem(last=False)
            with self._database:
                self._database.execute("DELETE FROM answers WHERE log = ?", (log.number,))

    def _having(self, logs: Sequence[_Log], words: Sequence[str]) -> frozenset[int]:
        """The items with all words in prompt, target or an answer; the last search is kept."""
        asked = (tuple(log.number for log in logs), tuple(words))
        if self._searched[0] != asked:
            select = "SELECT item FROM answers WHERE log = ? AND has(?, prompt, target, answer)"
            rows = (self._database.execute(select, (n, " ".join(words))) for n in asked[0])
            self._searched = asked, frozenset(item for found in rows for (item,) in found)
        return self._searched[1]

    def _item(self, item: int, logs: Sequence[_Log], models: Sequence[Model]) -> Item:
        select = "SELECT value, answer, prompt, target FROM answers WHERE log = ? AND item = ?"
        rows = [self._database.execute(select, (log.number, item)).fetchone() for log in logs]
        given = tuple(
            Given(model.name, answer, value, value >= RIGHT)
            for model, row in zip(models, rows, strict=True)
            if row is not None
            for value, answer, *_ in [row]
        )
        return Item(item, prompt=rows[0][2], target=rows[0][3], given=given)


def _by_outcome(own: _Log, others: Sequence[_Log]) -> dict[Outcome, frozenset[int]]:
    """The items of the model by outcome; one that another model has no answer to is not solved."""
    solved = own.solved
    theirs = frozenset[int]().union(*(log.solved for log in others)) & own.items
    return {
        "all": own.items,
        "won": solved - theirs,
        "lost": theirs - solved,
        "both wrong": own.items - solved - theirs,
        "both right": solved & theirs,
    }


def _has(words: str, *texts: str) -> bool:
    text = "\n".join(texts).casefold()
    return all(word in text for word in words.split(" "))
