"""A driver with many workers: how busy they are, and what a child costs the driver.

    python scripts/bench/fleet.py [--workers 1000] [--children 10000] [--evaluation 20] [--merge 2]
                                  [--per-generation N] [--folder DIR] [--json FILE]

The real driver, executor, pool, store and journal over the landscape, with random points of
`coefficient_search`. Workers are threads that sleep for a simulated duration, lognormal with a
standard deviation of 20 %: --evaluation seconds for an evaluation, --merge for a merge, with one
merge worker for eight that evaluate. Printed for every generation: share of time that evaluation
workers were busy, the same with a driver that costs nothing, children per second, CPU milliseconds
of the driver per child (without the landscape's own), bytes of the journal per child, peak memory.

With evaluations of 600 s the same driver has thirty times as many workers for a core.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from evomerge.cli import collect_rarely
from evomerge.domain.events import Event
from evomerge.domain.state import RunState
from evomerge.execution.pool import Pool
from evomerge.ports import Operation, Progress
from evomerge.testing.landscape import LandscapeEvaluator, LandscapeMerger, LandscapeMeter
from evomerge.testing.landscape_run import LandscapeWorkplace, landscape_config, run_landscape

_SPREAD = 0.2


class Spent:
    """Seconds that all workers together were at work, and of CPU that the landscape took."""

    def __init__(self) -> None:
        self.busy = self.cpu = 0.0
        self._lock = threading.Lock()

    def add(self, busy: float, cpu: float) -> None:
        """Add an operation."""
        with self._lock:
            self.busy += busy
            self.cpu += cpu


class _Slow:
    """Lets operations of a worker take a simulated duration; the number is the seed of its luck."""

    def __init__(self, number: int, seconds: float, spent: Spent) -> None:
        super().__init__()
        self.host = f"node-{number // 8}"
        self._rng = Random(number)
        self._seconds = seconds
        self._spent = spent

    def run(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Do it, then sleep for the rest of its duration."""
        if operation.kind not in {"score", "merge"}:
            return super().run(operation, progress)  # type: ignore[misc,no-any-return]
        began, cpu = time.perf_counter(), time.thread_time()
        took = self._seconds * math.exp(_SPREAD * self._rng.gauss(0, 1) - _SPREAD**2 / 2)
        answer: dict[str, Any] = super().run(operation, progress)  # type: ignore[misc]
        cpu = time.thread_time() - cpu
        time.sleep(max(0.0, began + took - time.perf_counter()))
        self._spent.add(time.perf_counter() - began, cpu)
        return answer


class SlowEvaluator(_Slow, LandscapeEvaluator):
    """Scores."""


class SlowMerger(_Slow, LandscapeMerger):
    """Merges."""


class Gauge:
    """The observer that prints a line for every generation.

    Args:
        ideal: the share of time that a driver without costs would keep workers busy.
    """

    def __init__(
        self,
        workplace: LandscapeWorkplace,
        workers: int,
        scoring: Spent,
        other: Spent,
        ideal: Callable[[int], float],
    ) -> None:
        self._journal = workplace.run.journal
        self._workers = workers
        self._scoring, self._other = scoring, other
        self._ideal = ideal
        self._last = (0, *self._now())
        self.rows: list[dict[str, float]] = []

    def _now(self) -> tuple[float, float, float]:
        own = time.process_time() - self._scoring.cpu - self._other.cpu
        return time.perf_counter(), own, self._scoring.busy

    def on_event(self, event: Event, state: RunState) -> None:
        """Print a line at the end of a generation, if it is due."""
        children = state.evaluations - len(state.at_generation(0))
        if event.type != "generation_finished" or not children:
            return
        now, count = self._now(), children - self._last[0]
        wall, cpu, busy = (a - b for a, b in zip(now, self._last[1:], strict=True))
        row = {
            "children": children,
            "busy": busy / (self._workers * wall),
            "ideal": self._ideal(count),
            "per_s": count / wall,
            "cpu_ms": 1000 * cpu / count,
            "journal_b": self._journal.stat().st_size / children,
            "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        self.rows.append(row)
        print(
            f"{children:>8}  {row['busy']:>6.1%}  {row['ideal']:>6.1%}  {row['per_s']:>5.1f}  "
            f"{row['cpu_ms']:>6.2f}  {row['journal_b']:>9.0f}  {row['memory_mb']:>9.0f}",
            flush=True,
        )
        self._last = (children, *now)

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Do nothing."""


def scheduled(workers: int, evaluation: float, merge: float, children: int) -> float:
    """The share of time that evaluation workers are busy with one generation, at best."""
    rng, merging, scoring, busy = Random(0), [0.0] * -(-workers // 8), [0.0] * workers, 0.0
    for _ in range(children):
        luck = [math.exp(_SPREAD * rng.gauss(0, 1) - _SPREAD**2 / 2) for _ in range(2)]
        merged = heapq.heapreplace(merging, merging[0] + merge * luck[0]) + merge * luck[0]
        heapq.heapreplace(scoring, max(scoring[0], merged) + evaluation * luck[1])
        busy += evaluation * luck[1]
    return busy / (workers * max(scoring))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--per-generation", type=int)
    parser.add_argument("--evaluation", type=float, default=20.0)
    parser.add_argument("--merge", type=float, default=2.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    collect_rarely()
    search = {"algorithm": "random", "children": words.per_generation or words.workers}
    with tempfile.TemporaryDirectory(dir=words.folder) as folder:
        config = landscape_config(
            strategy={"name": "coefficient_search", "search": search},
            stopping=[{"max_evaluations": words.children + 4}],
            execution={"merges_ahead": max(2, words.workers // 8), "report": False},
        )
        scoring, other = Spent(), Spent()
        workplace = LandscapeWorkplace(Path(folder), config)
        workplace.pool = Pool(
            [
                *(SlowEvaluator(n, words.evaluation, scoring) for n in range(words.workers)),
                *(SlowMerger(8 * n, words.merge, other) for n in range(-(-words.workers // 8))),
                LandscapeMeter(),
            ]
        )
        print("children    busy   ideal  per s  cpu ms  journal B  memory MB")
        ideal = partial(scheduled, words.workers, words.evaluation, words.merge)
        gauge = Gauge(workplace, words.workers, scoring, other, ideal)
        run_landscape(Path(folder), config, workplace, gauge)
    if words.json:
        words.json.write_text(json.dumps(gauge.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
