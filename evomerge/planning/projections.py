"""Projections that a search could take: Algorithm 1 itself, driven over scores that are made up.

How much work a run asks for depends on its scores. Two extremes bound it: every child beats all
before it (the pool is new each time, and no criterion that waits for a stand-still fires), or none
does. Projections with scores drawn at random lie between and show what the extremes do not reach.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from random import Random
from typing import get_args

from evomerge.config import Config
from evomerge.domain.events import Event
from evomerge.domain.kinship import KinshipReading, Pair, pair
from evomerge.domain.model import Model, Retention
from evomerge.domain.retention import needed
from evomerge.domain.scores import Scores, Split, TaskScore
from evomerge.domain.state import RunState
from evomerge.imagined import ImaginedExecutor, MemoryLedger, imagine
from evomerge.stopping import MaxEvaluations, MaxGenerations

HORIZON = 20
"""Generations that are imagined at most; a search that is not over then has no bound, unless it has
a budget of evaluations, which single children take longer to use up."""
DRAWN = 24
_STEP = 1000.0  # beyond any `min_delta`
_MANY = 10**6  # more models than a search has

RETENTIONS: tuple[Retention, ...] = get_args(Retention)
DrawScore = Callable[[int, int], float]
"""The score of the nth model on a task, which is counted from 0."""
DrawKinship = Callable[[], float]


@dataclass(frozen=True)
class Durations:
    """Seconds of one piece of work, 0 where they are not known, and how many are done at a time.

    Attributes:
        kinship: per model that a measurement reads.
        splits: seconds of one evaluation on each split that the end of a run scores.
        workers, mergers: how many evaluations and merges run at the same time.
    """

    merge: float = 0.0
    evaluation: float = 0.0
    kinship: float = 0.0
    workers: int = 1
    mergers: int = 1
    splits: Mapping[Split, float] = field(default_factory=dict)

    def wall(self, merges: int, evaluations: int, split: Split = "selection") -> float:
        """Seconds until all are scored, children as they come from the mergers."""
        free = [0.0] * self.workers
        for number in range(evaluations):
            ready = self.merge * ceil(min(merges, number + 1) / self.mergers)
            heapq.heapreplace(free, max(ready, free[0]) + self.one(split))
        return max(free)

    def one(self, split: Split) -> float:
        """Seconds of one evaluation."""
        return self.evaluation if split == "selection" else self.splits.get(split, 0.0)


@dataclass(frozen=True)
class ProjectedGeneration:
    """One generation of a projection.

    Attributes:
        explored: exploration merges among the merges.
        read: models read to measure kinship.
        stored: offspring with weights on disk while the generation is at work, by retention.
        seconds: of the wall clock.
    """

    number: int
    merges: int
    evaluations: int
    explored: int
    read: int
    stored: dict[Retention, int]
    seconds: float


@dataclass(frozen=True)
class End:
    """The end of a run: the best model and the foundation models on what the search never saw.

    Attributes:
        work: seconds of all evaluations, one after the other.
        seconds: of the wall clock.
    """

    evaluations: int = 0
    work: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Projection:
    """One projection of a search.

    Attributes:
        bounded: whether a criterion ended it, or the end of merges, rather than the horizon.
    """

    name: str
    steps: tuple[ProjectedGeneration, ...]
    stop: str
    bounded: bool
    end: End = End()

    @property
    def generations(self) -> int:
        """Generations of merges."""
        return len(self.steps) - 1

    @property
    def merges(self) -> int:
        """In all."""
        return sum(step.merges for step in self.steps)

    @property
    def evaluations(self) -> int:
        """In all, foundation models and the end included."""
        return sum(step.evaluations for step in self.steps) + self.end.evaluations

    @property
    def read(self) -> int:
        """Models read for kinship, in all."""
        return sum(step.read for step in self.steps)

    @property
    def seconds(self) -> float:
        """Of the wall clock."""
        return sum(step.seconds for step in self.steps) + self.end.seconds

    def peak(self, retention: Retention) -> int:
        """Offspring with weights on disk at once, at most."""
        return max(step.stored[retention] for step in self.steps)


class _Horizon(MaxGenerations):
    """The end of imagination, told apart from a criterion of the config."""

    def reached(self, state: RunState) -> str | None:
        reason = super().reached(state)
        return None if reason is None else "horizon"


def _horizon(config: Config) -> int:
    budgets = [c.max_evaluations for c in config.stopping if isinstance(c, MaxEvaluations)]
    return max([HORIZON, *budgets])


def projections_of(config: Config, work: Durations) -> tuple[Projection, ...]:
    """The projections of a search: every child better, none better, and some drawn at random."""
    rising = _drive(config, work, "every child is better", _rising(config), _least)
    falling = _drive(config, work, "no child is better", lambda n, _: (_MANY - n) * _STEP, _none)
    drawn = []
    for seed in range(DRAWN):
        rng = Random(seed)

        def score(_n: int, _task: int, rng: Random = rng) -> float:
            return rng.uniform(0, 100)

        def kinship(rng: Random = rng) -> float:
            return rng.uniform(-1, 1)

        drawn.append(_drive(config, work, f"drawn {seed}", score, kinship))
    return (rising, falling, *drawn)


def _rising(config: Config) -> DrawScore:
    """Every model is better on all tasks than those before it, but for one task of each.

    On its own task, which goes round, a model is the best until it is that task's turn again: no
    pool of elites can be larger, and none changes faster.
    """
    tasks = len(config.evaluation.tasks)
    return lambda n, task: (n + tasks * (n % tasks == task)) * _STEP


def _least() -> float:
    return -1.0


def _none() -> float:
    return 0.0


def first_generation(config: Config) -> int:
    """How many models the first generation merges."""
    stopping = (*config.stopping, MaxGenerations(max_generations=1))
    config = config.model_copy(update={"stopping": stopping})
    return _drive(config, Durations(), "one generation", _rising(config), _least).merges


def _drive(
    config: Config, work: Durations, name: str, score: DrawScore, kinship: DrawKinship
) -> Projection:
    horizon = _Horizon(max_generations=_horizon(config))
    changes = {
        "strategy": config.strategy.sketch(),
        # How many models are made depends on which is better, not on what "better" means; a share
        # of the best foundation model would make the steps smaller than a `min_delta` may be.
        "evaluation": config.evaluation.model_copy(update={"objective": "mean"}),
        "stopping": (*config.stopping, horizon),
    }
    executor = _Clocked(work, len(config.evaluation.tasks), score, kinship)
    ledger = MemoryLedger(now=lambda: executor.clock)
    state = imagine(config.model_copy(update=changes), executor, ledger=ledger)
    stop = state.stop or ""
    return Projection(name, tuple(executor.steps), stop, stop != "horizon", executor.end)


class _Clocked(ImaginedExecutor):
    """Counts the work of an imagined run, which moves a clock."""

    def __init__(self, work: Durations, tasks: int, score: DrawScore, kinship: DrawKinship) -> None:
        super().__init__(self._scores, self._kinship)
        self.steps: list[ProjectedGeneration] = []
        self.end = End()
        self.clock = 0.0
        self._work, self._tasks = work, tasks
        self._draw_score, self._draw_kinship = score, kinship
        self._scored = 0
        self._kept: dict[Retention, int] = dict.fromkeys(RETENTIONS, 0)

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Score the foundation models, the first one worst."""
        self._step(foundation, merges=0)
        return super().score(foundation)

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Merge and score."""
        self._step(offspring, merges=len(offspring))
        return super().breed(offspring)

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """Every model of a pair is read once, and the base."""
        if pairs:
            read = len({name for pair in pairs for name in pair}) + 1
            seconds = read * self._work.kinship
            last = self.steps[-1]
            self.steps[-1] = replace(last, read=last.read + read, seconds=last.seconds + seconds)
            self.clock += seconds
        return super().measure(models, pairs)

    def score_held_out(self, finalists: Sequence[Model], split: Split) -> Iterator[Event]:
        """Count them; their scores decide nothing."""
        number, seconds = len(finalists), self._work.wall(0, len(finalists), split)
        self.end = End(
            self.end.evaluations + number,
            self.end.work + number * self._work.one(split),
            self.end.seconds + seconds,
        )
        return super().score_held_out(finalists, split)

    def prune(self, state: RunState) -> None:
        """Count what each retention would keep."""
        for retention in RETENTIONS:
            names = needed(replace(state, retention=retention))
            self._kept[retention] = sum(state.models[name].merged for name in names)

    def _step(self, models: Sequence[Model], merges: int) -> None:
        seconds = self._work.wall(merges, len(models))
        self.clock += seconds
        self.steps.append(
            ProjectedGeneration(
                number=len(self.steps),
                merges=merges,
                evaluations=len(models),
                explored=sum(model.kind == "exploration" for model in models),
                read=0,
                stored={each: self._kept[each] + merges for each in RETENTIONS},
                seconds=seconds,
            )
        )

    def _scores(self, model: Model) -> Scores:
        self._scored += 1
        # Beyond 0 to 100 on purpose: no `min_delta` and no ceiling may get in the way.
        tasks = tuple(
            TaskScore.model_construct(
                task=f"task-{number}",
                metric="score",
                weight=1.0,
                samples=1,
                stderr=None,
                value=self._draw_score(self._scored, number),
            )
            for number in range(self._tasks)
        )
        return Scores.model_construct(evaluation_id="imagined", tasks=tasks)

    def _kinship(self, a: Model, b: Model) -> KinshipReading:
        value, models = self._draw_kinship(), pair(a.name, b.name)
        return KinshipReading.model_construct(
            models=models, pcc=value, cosine=value, euclidean=value
        )
