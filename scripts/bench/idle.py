"""Share of time that evaluation workers idle at the barrier between generations.

    python scripts/bench/idle.py [--workers 8,64] [--merging 8,2] [--evaluations 20]
                                 [--merge 60] [--kinship 30]

Searches over imagined models with simulated durations: an evaluation takes 600 s on average,
lognormal with a standard deviation of 20 %, a merge --merge seconds on a merge worker, of which
there is one for --merging evaluation workers, a measurement of kinship before a decision --kinship
seconds. Within a generation each worker takes the next merged child; the next generation begins
when the last one is scored. Printed for each strategy, until each worker had --evaluations
evaluations: children of a generation, idle share of the evaluation workers, evaluations an hour.
"""

from __future__ import annotations

import argparse
import heapq
import math
import zlib
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from evomerge.config import Config
from evomerge.domain.events import Event
from evomerge.domain.kinship import KinshipReading, Pair
from evomerge.domain.model import Model
from evomerge.domain.scores import Scores
from evomerge.imagined.world import ImaginedExecutor, imagine, points

_EVALUATION, _SPREAD = 600.0, 0.2


class TimedExecutor(ImaginedExecutor):
    """An executor in simulated time.

    Attributes:
        elapsed, busy: seconds of the run, and of all evaluation workers together.
        sizes: children of each generation.
    """

    def __init__(self, workers: int, merging: int, merge: float, kinship: float) -> None:
        super().__init__(self._score_of, self._kinship_of)
        self.elapsed = self.busy = 0.0
        self.sizes: list[int] = []
        self._workers, self._merging = workers, merging
        self._merge, self._measuring = merge, kinship
        self._worth: dict[str, float] = {}

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Score the foundation models, which need no merge."""
        self._pass([0.0] * len(foundation), foundation)
        yield from super().score(foundation)

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Merge and score a generation."""
        ready = [self._merge * (1 + number // self._merging) for number in range(len(offspring))]
        self._pass(ready, offspring)
        self.sizes.append(len(offspring))
        yield from super().breed(offspring)

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """Measure kinship while nothing is scored."""
        self.elapsed += self._measuring * bool(pairs)
        yield from super().measure(models, pairs)

    def _pass(self, ready: Sequence[float], models: Sequence[Model]) -> None:
        """Let time pass until all models, which are `ready` from then on, have been scored."""
        free = [0.0] * self._workers
        for at, model in zip(ready, models, strict=True):
            took = _EVALUATION * math.exp(_SPREAD * _rng(model.name).gauss(0, 1) - _SPREAD**2 / 2)
            heapq.heapreplace(free, max(free[0], at) + took)
            self.busy += took
        self.elapsed += max(free)

    def _score_of(self, model: Model) -> Scores:
        inherited = [self._worth[name] for name in model.parents] or [40.0]
        luck = _rng(f"score {model.name}").gauss(-0.3, 1.5)
        self._worth[model.name] = min(99.0, max(1.0, math.fsum(inherited) / len(inherited) + luck))
        return points(self._worth[model.name])

    def _kinship_of(self, a: Model, b: Model) -> KinshipReading:
        value = _rng(f"{a.name} {b.name}").random()
        return KinshipReading(models=(a.name, b.name), pcc=value, cosine=value, euclidean=1 - value)


def _rng(name: str) -> Random:
    return Random(zlib.crc32(name.encode()))


def strategies(workers: int) -> dict[str, dict[str, Any]]:
    """The strategies, with as many children of a generation as workers where they can."""
    k = next(k for k in range(2, 100) if k * (k - 1) // 2 + 1 >= workers)
    search = {"algorithm": "random", "children": workers}  # the schedule is that of bayes
    return {
        "kinship": {"name": "kinship", "k": k},
        "steady_state": {"name": "steady_state", "k": k},
        "coefficient_search": {"name": "coefficient_search", "search": search},
    }


def measure(
    strategy: dict[str, Any], workers: int, merging: int, each: int, merge: float, kinship: float
) -> TimedExecutor:
    """The schedule of a search until each worker had `each` evaluations."""
    config = Config.model_validate(
        {
            "run": {"name": "idle", "seed": 1},
            "base_model": "base",
            "foundation_models": [f"founder-{n}" for n in range(max(5, strategy.get("k", 5)))],
            "strategy": strategy,
            "merge": {"method": "task_arithmetic"},
            "evaluation": {"tasks": ["luck"]},
            "stopping": [
                {"no_improvement": {"patience": 10_000, "min_delta": 0.1}},
                {"max_evaluations": workers * each},
            ],
        }
    )
    executor = TimedExecutor(workers, merging, merge, kinship)
    imagine(config, executor)
    return executor


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="8,64")
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--merge", type=float, default=60.0)
    parser.add_argument("--kinship", type=float, default=30.0)
    parser.add_argument("--merging", default="8,2", help="evaluation workers per merge worker")
    words = parser.parse_args()
    print("workers  merging  strategy            children  idle   evaluations an hour")
    for workers in map(int, words.workers.split(",")):
        for share in map(int, words.merging.split(",")):
            merging = max(1, workers // share)
            for name, strategy in strategies(workers).items():
                done = measure(
                    strategy, workers, merging, words.evaluations, words.merge, words.kinship
                )
                idle = 1 - done.busy / (workers * done.elapsed)
                mean = sum(done.sizes) / len(done.sizes)
                rate = done.busy / _EVALUATION / (done.elapsed / 3600)
                print(
                    f"{workers:>7}  {merging:>7}  {name:<18}  {mean:>8.1f}  {idle:>5.1%}  "
                    f"{rate:>19.1f}"
                )


if __name__ == "__main__":
    main()
