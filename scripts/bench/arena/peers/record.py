"""Records a peer's search child by child; runs in the peers' environments, so it imports little.

A search is a folder: `children.jsonl` grows by a line per child, `models/child-N` are the children
that were the best when they were scored.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

AS_PUBLISHED = "ARENA_AS_PUBLISHED"
"""Environment variable that disables all changes that only save time."""


def skip_environment_report() -> None:
    """Disable lm-eval's report of the machine at each evaluation, by `pip list` and git."""
    evaluator: Any = importlib.import_module("lm_eval.evaluator")
    evaluator.add_env_info = lambda _: None


class BudgetSpentError(Exception):
    """The last evaluation of the budget was recorded."""


@dataclass(frozen=True)
class Task:
    """A task of the fixture and its metric, as lm-eval names them."""

    name: str
    metric: str


@dataclass(frozen=True)
class Search:
    """The settings of a runner that are not the peer's own choice.

    Attributes:
        folder: of the search; the runner's working directory.
        models: the specialists, in the arena's order.
        tasks_folder: tasks with the selection items only.
        items: number of selection items of each task.
        evaluations: exact number of children.
    """

    folder: Path
    base: Path
    models: tuple[Path, ...]
    tasks_folder: Path
    tasks: tuple[Task, ...]
    items: int
    batch_size: int
    evaluations: int
    seed: int
    settings: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Search:
        """From `search.json` in the folder of a search."""
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            folder=path.parent.resolve(),
            base=Path(told["base"]),
            models=tuple(Path(model) for model in told["models"]),
            tasks_folder=Path(told["tasks_folder"]),
            tasks=tuple(Task(**task) for task in told["tasks"]),
            items=told["items"],
            batch_size=told["batch_size"],
            evaluations=told["evaluations"],
            seed=told["seed"],
            settings=told["settings"],
        )


class Record:
    """Writes the children of a search and keeps the best model so far."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._file = search.folder / "children.jsonl"
        self._file.write_text("", encoding="utf-8")
        shutil.rmtree(search.folder / "models", ignore_errors=True)
        self._count, self._best = 0, float("-inf")
        self._used = _cpu_seconds()

    def add(
        self, tasks: Mapping[str, float] | None, model: Path | None, seconds: float, **told: Any
    ) -> None:
        """Record a child; `model` is copied if it is the best so far.

        The CPU-seconds since the one before are recorded too; those of the first have the start.

        Args:
            tasks: score of each task, 0 to 1; None of a child that failed.
            seconds: from the proposal to the score.

        Raises:
            BudgetSpentError: this was the last one.
        """
        self._count += 1
        before, self._used = self._used, _cpu_seconds()
        score = None if tasks is None else 100.0 * sum(tasks.values()) / len(tasks)
        kept = None
        if score is not None and model is not None and score > self._best:
            self._best = score
            kept = f"models/child-{self._count}"
            shutil.copytree(model, self._search.folder / kept)
        line = {
            "number": self._count,
            "dev": score,
            "tasks": tasks and dict(tasks),
            "seconds": round(seconds, 3),
            "model": kept,
            "cpu_seconds": round(self._used - before, 3),
            "load": os.getloadavg()[0],
            "at": time.time(),
            **told,
        }
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._count == self._search.evaluations:
            raise BudgetSpentError


def _cpu_seconds() -> float:
    """CPU seconds of this process and its descendants, including reaped ones."""
    this, used = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            used += sum(process.cpu_times()[:4])
    return used
