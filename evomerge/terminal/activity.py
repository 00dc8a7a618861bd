"""What is being worked on right now, and how long such work took so far."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal

from evomerge.domain.events import (
    CandidateFailed,
    ConfirmationFailed,
    Event,
    GenerationFinished,
    KinshipMeasured,
    ModelConfirmed,
    ModelMerged,
    ModelScored,
    RunFinished,
)
from evomerge.domain.model import Model
from evomerge.domain.state import RunState

_REMEMBERED = 16  # durations: enough to be steady, few enough to follow a change
_TELLING = 0.05  # below this share of a task, its pace says nothing of its length


@dataclass(frozen=True)
class Task:
    """One merge, evaluation or measurement that goes on.

    Attributes:
        activity: `merge`, `score` or `kinship`.
        seconds: since it was first heard of.
    """

    model: str
    activity: str
    done: int
    total: int
    seconds: float = 0.0

    @property
    def share(self) -> float | None:
        """The share that is done, from 0 to 1; None where the whole is not known."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else None

    @property
    def expected(self) -> float | None:
        """How long it takes as a whole at its pace so far; None where that is not yet known."""
        share = self.share
        return self.seconds / share if share is not None and share >= _TELLING else None

    @property
    def rate(self) -> float | None:
        """Units of its work per second so far; None before the first one is done."""
        return self.done / self.seconds if self.done > 0 and self.seconds >= 1.0 else None

    @property
    def left(self) -> float | None:
        """Seconds until it is done, at its pace so far."""
        return None if self.expected is None else max(0.0, self.expected - self.seconds)


class Activity:
    """The tasks of all workers; told by any thread, read by any other."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = Lock()
        self._tasks: dict[tuple[str, str], Task] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._durations: dict[str, deque[float]] = {}
        self._widest = 1

    @property
    def widest(self) -> int:
        """The most tasks that went on at once so far, at least one."""
        return self._widest

    def progressed(
        self, model: str, activity: str, done: int, total: int, seconds: float = 0.0
    ) -> None:
        """Work on `model` goes on; a task that falls back has started anew.

        Args:
            seconds: for which it has gone on when it is first heard of.
        """
        key = (model, activity)
        with self._lock:
            before = self._tasks.get(key)
            if before is None or done < before.done:
                self._began[key] = self._now() - seconds
            self._tasks[key] = Task(model, activity, done, total)
            self._widest = max(self._widest, len(self._tasks))

    def happened(self, event: Event) -> None:
        """Forget tasks that are done, remember how long they took unless they were reused."""
        with self._lock:
            match event:
                case ModelMerged():
                    self._end(lambda task: task == (event.model, "merge"))
                    self._remember("merge", event.seconds, event.reused)
                case ModelScored() | ModelConfirmed():
                    self._end(lambda task: task[0] == event.model)
                    self._remember("score", event.seconds, event.reused)
                case KinshipMeasured():
                    self._end(lambda task: task[1] == "kinship")
                    self._remember("kinship", event.seconds, event.reused)
                case CandidateFailed() | ConfirmationFailed():
                    self._end(lambda task: task[0] == event.model)
                case GenerationFinished() | RunFinished():
                    self._end(lambda _: True)

    def nothing(self) -> None:
        """Nothing goes on any more."""
        with self._lock:
            self._end(lambda _: True)

    def tasks(self) -> tuple[Task, ...]:
        """What goes on now, in the order in which it began."""
        with self._lock:
            now = self._now()
            return tuple(
                replace(task, seconds=now - self._began[key]) for key, task in self._tasks.items()
            )

    def typical(self, activity: str, tasks: Iterable[Task]) -> float | None:
        """How long such work takes: the mean so far, else what the tasks under way promise."""
        with self._lock:
            seconds = list(self._durations.get(activity, ()))
        if not seconds:
            seconds = [t.expected for t in tasks if t.activity == activity and t.expected]
        return sum(seconds) / len(seconds) if seconds else None

    def _end(self, ended: Callable[[tuple[str, str]], bool]) -> None:
        for key in [key for key in self._tasks if ended(key)]:
            del self._tasks[key], self._began[key]

    def _remember(
        self, activity: Literal["merge", "score", "kinship"], seconds: float, reused: bool
    ) -> None:
        if not reused:
            self._durations.setdefault(activity, deque(maxlen=_REMEMBERED)).append(seconds)


def seconds_left(state: RunState, activity: Activity) -> float | None:
    """An estimate of the time to the end of the open generation; None without any ground."""
    tasks = activity.tasks()
    by_model = {(task.model, task.activity): task for task in tasks}
    typical = {kind: activity.typical(kind, tasks) for kind in ("merge", "score", "kinship")}
    work = 0.0
    for model in state.unscored:
        for kind in _stages(model):
            task, usual = by_model.get((model.name, kind)), typical[kind]
            if task is not None and task.left is not None:
                work += task.left
            elif usual is not None:
                work += max(0.0, usual - (task.seconds if task else 0.0))
            else:
                return None
    workers = sum(task.activity != "kinship" for task in tasks)
    measuring = typical["kinship"] or 0.0 if state.open_generation is not None else 0.0
    return work / max(1, workers) + measuring


def _stages(model: Model) -> tuple[str, ...]:
    """The work that a model still needs."""
    return ("score",) if model.merged or not model.parents else ("merge", "score")
