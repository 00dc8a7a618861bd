"""The progress of running tasks, for processes that watch a run.

The file is informational: it is not synced, no decision reads it, and write errors are ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Self

from evomerge.domain.events import CandidateFailed, Event, GenerationFinished, ModelScored
from evomerge.domain.state import RunState

_EVERY = 1.0
"""Seconds between two writes."""


@dataclass(frozen=True)
class Underway:
    """A running task.

    Attributes:
        seconds: from its start to its last progress report.
        host: the machine on which it runs; empty for that of the driver.
    """

    model: str
    activity: str
    done: int
    total: int
    seconds: float
    host: str = ""


class ProgressFile:
    """An `Observer` that keeps `path` up to date while it is entered; errors are ignored."""

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        self._lock = Lock()
        self._tasks: dict[tuple[str, str], Underway] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._written = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._written > float("-inf"):  # else the file may be another driver's
            with contextlib.suppress(OSError):
                self._path.unlink()

    def on_event(self, event: Event, state: RunState) -> None:
        """Remove finished tasks."""
        with self._lock:
            match event:
                case ModelScored() | CandidateFailed():
                    self._forget(lambda key: key[0] == event.model)
                case GenerationFinished():
                    self._forget(lambda _: True)

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Update a task's progress; from any thread."""
        key = (model, activity)
        with self._lock:
            now = self._now()
            before = self._tasks.get(key)
            if before is None or done < before.done:
                self._began[key] = now
            seconds = now - self._began[key]
            self._tasks[key] = Underway(model, activity, done, total, seconds, host)
            if 0 < total <= done:
                self._forget(lambda each: each == key)
            if now - self._written >= _EVERY:
                self._written = now
                self._write()

    def _forget(self, ended: Callable[[tuple[str, str]], bool]) -> None:
        for key in [key for key in self._tasks if ended(key)]:
            del self._tasks[key], self._began[key]

    def _write(self) -> None:
        tasks = [asdict(task) for task in self._tasks.values()]
        aside = self._path.with_name(f".{self._path.name}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            with open(os.open(aside, flags, 0o644), "w", encoding="utf-8") as file:  # noqa: PTH123
                json.dump({"at": time.time(), "tasks": tasks}, file)
            aside.replace(self._path)


def read_progress(path: Path) -> tuple[float, tuple[Underway, ...]]:
    """(time of the last write, the tasks); (0, ()) if there is no readable file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        tasks = tuple(
            Underway(
                str(task["model"]),
                str(task["activity"]),
                int(task["done"]),
                int(task["total"]),
                float(task["seconds"]),
                str(task.get("host", "")),
            )
            for task in document["tasks"]
        )
        return float(document["at"]), tasks
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0, ()
