"""Projections of a search: Algorithm 1 with made-up scores, to bound the work of a run.

The work depends on the scores. The extremes are that every child is better than all before it (the
pool always changes and no criterion based on stagnation is reached) and that none is; projections
with random scores cover the cases in between.
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
from evomerge.domain.retention import needed, needed_task_vectors, task_vectors
from evomerge.domain.scores import Scores, Split, TaskScore
from evomerge.domain.state import RunState
from evomerge.imagined.world import ImaginedExecutor, MemoryLedger, imagine, imagined_start
from evomerge.stopping import MaxEvaluations, MaxGenerations

HORIZON = 20
"""Maximum number of projected generations (more with a larger budget of evaluations); a search that
is not over then is unbounded."""
DRAWN = 24
"""Number of projections with random scores."""
_STEP = 1000.0  # larger than any `min_delta`
_MANY = 10**6  # more than the number of models

RETENTIONS: tuple[Retention, ...] = get_args(Retention)
DrawScore = Callable[[int, int], float]
"""Called with (n, task): the score of the nth model, from 1, on a task, from 0."""
DrawKinship = Callable[[], float]


@dataclass(frozen=True)
class Durations:
    """Durations in seconds, 0 if unknown, and parallelism.

    Attributes:
        merge, evaluation: of one merge or evaluation.
        task_vector: of disentangling the task vector of one parent.
        kinship: per model that is read.
        workers, mergers: number of parallel evaluations and merges.
        gpus: number of GPUs that are paid for.
        splits: of one evaluation on each held-out split.
    """

    merge: float = 0.0
    evaluation: float = 0.0
    kinship: float = 0.0
    task_vector: float = 0.0
    workers: int = 1
    mergers: int = 1
    gpus: int = 0
    splits: Mapping[Split, float] = field(default_factory=dict)

    def wall(self, merges: int, evaluations: int, split: Split = "selection") -> float:
        """Seconds of wall clock until all are merged and scored, with both in parallel."""
        free = [0.0] * self.workers
        for number in range(evaluations):
            ready = self.merge * ceil(min(merges, number + 1) / self.mergers)
            heapq.heapreplace(free, max(ready, free[0]) + self.one(split))
        return max(free)

    def one(self, split: Split) -> float:
        """Seconds of one evaluation on `split`."""
        return self.evaluation if split == "selection" else self.splits.get(split, 0.0)


@dataclass(frozen=True)
class ProjectedGeneration:
    """One generation of a projection.

    Attributes:
        explored: number of exploration merges among the merges.
        read: number of models read to measure kinship.
        disentangled: number of task vectors that are disentangled before the merges.
        stored: maximum number of offspring with weights on disk, by retention.
        vectors: maximum number of disentangled task vectors on disk, by retention.
        seconds: wall clock.
    """

    number: int
    merges: int
    evaluations: int
    explored: int
    read: int
    disentangled: int
    stored: dict[Retention, int]
    vectors: dict[Retention, int]
    seconds: float


@dataclass(frozen=True)
class End:
    """The held-out evaluation at the end of a run.

    Attributes:
        work: sum of the seconds of all evaluations.
        seconds: wall clock.
    """

    evaluations: int = 0
    work: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Projection:
    """One projection of a search.

    Attributes:
        bounded: whether the search ended before the horizon.
    """

    name: str
    steps: tuple[ProjectedGeneration, ...]
    stop: str
    bounded: bool
    end: End = End()

    @property
    def generations(self) -> int:
        """Number of generations, without generation 0."""
        return len(self.steps) - 1

    @property
    def merges(self) -> int:
        """Number of all merges."""
        return sum(step.merges for step in self.steps)

    @property
    def evaluations(self) -> int:
        """Number of evaluations, as `RunState.evaluations`; those at the end are in `end`."""
        return sum(step.evaluations for step in self.steps)

    @property
    def read(self) -> int:
        """Number of models read for kinship."""
        return sum(step.read for step in self.steps)

    @property
    def disentangled(self) -> int:
        """Number of task vectors that are disentangled."""
        return sum(step.disentangled for step in self.steps)

    @property
    def seconds(self) -> float:
        """Wall clock."""
        return sum(step.seconds for step in self.steps) + self.end.seconds

    def peak(self, retention: Retention) -> int:
        """Maximum number of offspring with weights on disk."""
        return max(step.stored[retention] for step in self.steps)

    def room(self, retention: Retention) -> int:
        """The same with disentangled task vectors, each of the size of a model."""
        return max(step.stored[retention] + step.vectors[retention] for step in self.steps)


class _Horizon(MaxGenerations):
    """The maximum length of a projection, distinguishable from criteria of the config."""

    def reached(self, state: RunState) -> str | None:
        reason = super().reached(state)
        return None if reason is None else "horizon"


def _horizon(config: Config) -> int:
    budgets = [c.max_evaluations for c in config.stopping if isinstance(c, MaxEvaluations)]
    return max([HORIZON, *budgets])


def projections_of(config: Config, work: Durations) -> tuple[Projection, ...]:
    """The projections of a search: every child better, none better, and random scores."""
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
    """Scores of which each model is better than all before it, except for one task of each.

    In turn, each model is best on one task for as many models as there are tasks, so that pools of
    elites are as large, and change as fast, as possible.
    """
    tasks = len(config.evaluation.tasks)
    return lambda n, task: (n + tasks * (n % tasks == task)) * _STEP


def _least() -> float:
    return -1.0


def _none() -> float:
    return 0.0


def first_generation(config: Config) -> int:
    """The number of models that the first generation stores, disentangled task vectors included."""
    stopping = (*config.stopping, MaxGenerations(max_generations=1))
    config = config.model_copy(update={"stopping": stopping})
    return _drive(config, Durations(), "one generation", _rising(config), _least).room("all")


def _drive(
    config: Config, work: Durations, name: str, score: DrawScore, kinship: DrawKinship
) -> Projection:
    horizon = _Horizon(max_generations=_horizon(config))
    changes = {
        "strategy": config.strategy.sketch(),
        # Only the order of scores matters, and `relative` would scale them below `min_delta`.
        "evaluation": config.evaluation.model_copy(update={"objective": "mean"}),
        "stopping": (*config.stopping, horizon),
    }
    executor = _Clocked(work, len(config.evaluation.tasks), score, kinship)
    ledger = MemoryLedger(now=lambda: executor.clock)
    changed = config.model_copy(update=changes)
    ledger.record(imagined_start(changed, gpus=work.gpus))
    state = imagine(changed, executor, ledger=ledger)
    stop = state.stop or ""
    return Projection(name, tuple(executor.steps), stop, stop != "horizon", executor.end)


class _Clocked(ImaginedExecutor):
    """An imagined executor that counts work and advances a clock."""

    def __init__(self, work: Durations, tasks: int, score: DrawScore, kinship: DrawKinship) -> None:
        super().__init__(self._scores, self._kinship)
        self.steps: list[ProjectedGeneration] = []
        self.end = End()
        self.clock = 0.0
        self._work, self._tasks = work, tasks
        self._draw_score, self._draw_kinship = score, kinship
        self._scored = 0
        self._kept: dict[Retention, int] = dict.fromkeys(RETENTIONS, 0)
        self._vectors: dict[Retention, int] = dict.fromkeys(RETENTIONS, 0)
        self._disentangled: set[str] = set()

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Count and score the foundation models."""
        self._step(foundation, merges=0)
        return super().score(foundation)

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Count, merge and score the offspring."""
        self._step(offspring, merges=len(offspring))
        return super().breed(offspring)

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """Count the models that are read: every model of the pairs and the base, once each."""
        if pairs:
            read = len({name for pair in pairs for name in pair}) + 1
            seconds = read * self._work.kinship
            last = self.steps[-1]
            self.steps[-1] = replace(last, read=last.read + read, seconds=last.seconds + seconds)
            self.clock += seconds
        return super().measure(models, pairs)

    def score_held_out(self, finalists: Sequence[Model], split: Split) -> Iterator[Event]:
        """Count the evaluations."""
        number, seconds = len(finalists), self._work.wall(0, len(finalists), split)
        self.end = End(
            self.end.evaluations + number,
            self.end.work + number * self._work.one(split),
            self.end.seconds + seconds,
        )
        return super().score_held_out(finalists, split)

    def prune(self, state: RunState) -> None:
        """Count the models that each retention keeps."""
        for retention in RETENTIONS:
            kept = replace(state, retention=retention)
            self._kept[retention] = sum(state.models[name].merged for name in needed(kept))
            sets = task_vectors(state)
            self._vectors[retention] = sum(
                len(sets[each].rows) for each in needed_task_vectors(kept)
            )

    def _step(self, models: Sequence[Model], merges: int) -> None:
        recipes = [model.candidate.recipe for model in models if model.candidate]
        sets = {each.task_vectors: len(each.rows) for each in recipes if each.task_vectors}
        vectors = sum(size for name, size in sets.items() if name not in self._disentangled)
        self._disentangled |= sets.keys()
        seconds = vectors * self._work.task_vector + self._work.wall(merges, len(models))
        self.clock += seconds
        self.steps.append(
            ProjectedGeneration(
                number=len(self.steps),
                merges=merges,
                evaluations=len(models),
                explored=sum(model.kind == "exploration" for model in models),
                read=0,
                disentangled=vectors,
                stored={each: self._kept[each] + merges for each in RETENTIONS},
                vectors={each: self._vectors[each] + vectors for each in RETENTIONS},
                seconds=seconds,
            )
        )

    def _scores(self, model: Model) -> Scores:
        self._scored += 1
        # Unvalidated, since these scores exceed 100.
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
