"""The jobs in progress, and how long earlier jobs of the same kind took."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal

from evomerge.domain.events import (
    CandidateFailed,
    Event,
    GenerationFinished,
    HeldOutFailed,
    HeldOutScored,
    KinshipMeasured,
    ModelMerged,
    ModelScored,
    RunFinished,
)
from evomerge.domain.model import Model
from evomerge.domain.state import RunState

DOING = {"merge": "merging", "score": "scoring", "kinship": "kinship"}
_REMEMBERED = 16  # durations: enough for a stable mean, few enough to follow a change
_TELLING = 0.05  # below this fraction of a job, its rate does not predict its duration


@dataclass(frozen=True)
class Job:
    """One merge, evaluation or kinship measurement in progress.

    Attributes:
        activity: `merge`, `score`, `kinship` or `fetch` (in bytes).
        seconds: time since its first progress report.
        first: what was done before, of a download that goes on.
        host: the machine on which it runs; empty for that of the driver.
    """

    model: str
    activity: str
    done: int
    total: int
    seconds: float = 0.0
    first: int = 0
    host: str = ""

    @property
    def share(self) -> float | None:
        """The completed fraction, 0 to 1; None if the total is unknown."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else None

    @property
    def expected(self) -> float | None:
        """Expected total duration in seconds at the current rate; None if not yet known."""
        share = self.share
        return self.seconds / share if share is not None and share >= _TELLING else None

    @property
    def rate(self) -> float | None:
        """Units of work per second so far; None before the first one is done."""
        done = self.done - self.first
        return done / self.seconds if done > 0 and self.seconds >= 1.0 else None

    @property
    def left(self) -> float | None:
        """Expected seconds until it is done, at the current rate."""
        return None if self.expected is None else max(0.0, self.expected - self.seconds)


class Activity:
    """The jobs of all workers. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = Lock()
        self._jobs: dict[tuple[str, str], Job] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._durations: dict[str, deque[float]] = {}
        self._widest = 1

    @property
    def widest(self) -> int:
        """The largest number of concurrent jobs so far, at least 1."""
        return self._widest

    def on_progress(
        self,
        model: str,
        activity: str,
        done: int,
        total: int,
        host: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Record progress on `model`; if `done` decreases, the job was restarted.

        Args:
            seconds: how long the job has been running at its first report.
        """
        key = (model, activity)
        with self._lock:
            before = self._jobs.get(key)
            restarted = before is None or done < before.done
            if restarted:
                self._began[key] = self._now() - seconds
            first = before.first if before and not restarted else done
            first = first if activity == "fetch" and not seconds else 0
            self._jobs[key] = Job(model, activity, done, total, first=first, host=host)
            self._widest = max(self._widest, len(self._jobs))
            if activity == "fetch" and 0 < total <= done:
                self._end(lambda job: job == key)

    def on_event(self, event: Event) -> None:
        """Drop finished jobs and keep their durations, unless their results were reused."""
        with self._lock:
            match event:
                case ModelMerged():
                    self._end(lambda job: job == (event.model, "merge"))
                    self._remember("merge", event.seconds, event.reused)
                case ModelScored() | HeldOutScored():
                    self._end(lambda job: job[0] == event.model)
                    self._remember("score", event.seconds, event.reused)
                case KinshipMeasured():
                    self._end(lambda job: job[1] == "kinship")
                    self._remember("kinship", event.seconds, event.reused)
                case CandidateFailed() | HeldOutFailed():
                    self._end(lambda job: job[0] == event.model)
                case GenerationFinished() | RunFinished():
                    self._end(lambda _: True)

    def nothing(self) -> None:
        """Drop all jobs: nothing is in progress."""
        with self._lock:
            self._end(lambda _: True)

    def jobs(self) -> tuple[Job, ...]:
        """The jobs in progress, in the order in which they started."""
        with self._lock:
            now = self._now()
            return tuple(
                replace(job, seconds=now - self._began[key]) for key, job in self._jobs.items()
            )

    def typical(self, activity: str, jobs: Iterable[Job]) -> float | None:
        """Typical duration in seconds: the mean of finished jobs, else estimated from `jobs`."""
        with self._lock:
            seconds = list(self._durations.get(activity, ()))
        if not seconds:
            seconds = [t.expected for t in jobs if t.activity == activity and t.expected]
        return sum(seconds) / len(seconds) if seconds else None

    def _end(self, ended: Callable[[tuple[str, str]], bool]) -> None:
        for key in [key for key in self._jobs if ended(key)]:
            del self._jobs[key], self._began[key]

    def _remember(
        self, activity: Literal["merge", "score", "kinship"], seconds: float, reused: bool
    ) -> None:
        if not reused:
            self._durations.setdefault(activity, deque(maxlen=_REMEMBERED)).append(seconds)


def seconds_left(state: RunState, activity: Activity) -> float | None:
    """Estimated seconds to the end of the open generation; None without data to estimate from."""
    jobs = activity.jobs()
    by_model = {(job.model, job.activity): job for job in jobs}
    typical = {kind: activity.typical(kind, jobs) for kind in ("merge", "score", "kinship")}
    work = 0.0
    for model in state.unscored:
        for kind in _stages(model):
            job, usual = by_model.get((model.name, kind)), typical[kind]
            if job is not None and job.left is not None:
                work += job.left
            elif usual is not None:
                work += max(0.0, usual - (job.seconds if job else 0.0))
            else:
                return None
    workers = sum(job.activity != "kinship" for job in jobs)
    measuring = typical["kinship"] or 0.0 if state.open_generation is not None else 0.0
    return work / max(1, workers) + measuring


def _stages(model: Model) -> tuple[str, ...]:
    """The stages that a model still has to go through."""
    return ("score",) if model.merged or not model.parents else ("merge", "score")
