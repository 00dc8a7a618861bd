"""The state of a run, which is the fold of its journal.

`fold` is the only way to create one, so that a resumed run knows exactly as much as an
uninterrupted one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, singledispatch
from itertools import islice

from immutables import Map

from evomerge.domain.difference import Gains
from evomerge.domain.events import (
    CandidateFailed,
    Event,
    GainsTested,
    GenerationFinished,
    GenerationProposed,
    HeldOutFailed,
    HeldOutScored,
    KinshipMeasured,
    MergesSkipped,
    ModelMerged,
    ModelScored,
    RunFinished,
    RunResumed,
    RunStarted,
)
from evomerge.domain.kinship import KinshipMatrix, KinshipReading, Metric, Pair, pair
from evomerge.domain.limits import CostLimit, Limits
from evomerge.domain.model import Candidate, Model, Retention, SkippedMerge
from evomerge.domain.objective import Objective, ObjectiveName, Worth
from evomerge.domain.population import Parents, Population, rank
from evomerge.domain.references import objectives
from evomerge.domain.relatives import Relatives
from evomerge.domain.scores import Split
from evomerge.domain.value import Value


class Entry(Value):
    """An event with the time at which it was recorded, in seconds since 1970."""

    at: float
    event: Event


@dataclass(frozen=True)
class Generation:
    """A generation: its candidates and the pool after it.

    Attributes:
        pool: names, best first; None while the generation is open.
        stop: the criterion that was reached at its end, if any.
    """

    number: int
    candidates: tuple[Candidate, ...] = ()
    pool: tuple[str, ...] | None = None
    stop: str | None = None


Rise = tuple[int, Worth]
"""(generation, worth of its best model), where the worth is higher than any before."""


@dataclass(frozen=True)
class RunState:
    """Everything known about a run. The cost of an event hardly depends on the length of the run.

    Attributes:
        models: by name, foundation models first, then by generation and number.
        generations: in order; generation 0 holds the pool of foundation models.
        rises: the closed generations with a new highest worth.
        readings: kinship by unordered pair of names.
        kin: cache of `relatives` as of the last measurement, if it was ever used.
        skipped: merges skipped for a high kinship of the parents, in order; `given_up` has their
            sets of parents.
        stop: the criterion that ended the search.
        budget: the limits; of a run that was `extended` they replace its stopping criteria.
        gains: significance of the best model's gains; None until tested.
        objectives: the objective on each split.
        skill_kept_at: see `evomerge.domain.skills`.
        merges: number of merged models.
        reused_merges, reused_evaluations, reused_held_out: number of those merges, evaluations and
            held-out evaluations that were already in the store.
        seconds: working time, without pauses between an interruption and a resume.
        gpus: the number in use in the last session.
        gpu_seconds: working time of every session times the GPUs that it used.
        last_at: time of the last event, in seconds since 1970.
    """

    started: RunStarted | None = None
    models: Population = field(default_factory=Population)
    generations: tuple[Generation, ...] = ()
    rises: tuple[Rise, ...] = ()
    readings: Map[Pair, KinshipReading] = field(default_factory=Map)
    kin: Relatives = field(default_factory=Relatives, compare=False, repr=False)
    skipped: tuple[SkippedMerge, ...] = ()
    given_up: Map[Parents, None] = field(default_factory=Map)
    stop: str | None = None
    budget: Limits = field(default_factory=Limits)
    extended: bool = False
    gains: Gains | None = None
    objectives: Mapping[Split, Objective] = field(default_factory=dict)
    finished: bool = False
    retention: Retention = "all"
    skill_kept_at: float = 0.8
    merges: int = 0
    reused_merges: int = 0
    reused_evaluations: int = 0
    reused_held_out: int = 0
    seconds: float = 0.0
    gpus: int = 0
    gpu_seconds: float = 0.0
    last_at: float | None = None

    @property
    def start(self) -> RunStarted:
        """The run's first event.

        Raises:
            ValueError: there are no events yet.
        """
        if self.started is None:
            raise ValueError("the run has not started")
        return self.started

    @property
    def k(self) -> int:
        """The size of the pool S."""
        return self.start.k

    @cached_property
    def ranking(self) -> tuple[Model, ...]:
        """M: all scored models that are not kept out, best first, in the order of `rank`."""
        return self._ranked(len(self.models.ranks))

    def _ranked(self, count: int) -> tuple[Model, ...]:
        """The first `count` models of M."""
        return tuple(self.models[name] for *_, name in islice(self.models.ranks, count))

    @cached_property
    def pool(self) -> tuple[Model, ...]:
        """S: the top k of M; with elites, followed by the best models of tasks that it lacks."""
        top = self._ranked(self.k)
        if self.start.pool == "top_k":
            return top
        elites = {name for _, (*_, name) in self.models.elites.values()}
        others = elites - {model.name for model in top}
        return (*top, *sorted((self.models[name] for name in others), key=rank))

    @property
    def best(self) -> Model | None:
        """The best model of M."""
        return next(iter(self._ranked(1)), None)

    @property
    def generation(self) -> Generation | None:
        """The latest generation."""
        return self.generations[-1] if self.generations else None

    @property
    def open_generation(self) -> Generation | None:
        """The latest generation, if it is not finished."""
        last = self.generation
        return last if last is not None and last.pool is None else None

    @cached_property
    def unscored(self) -> tuple[Model, ...]:
        """Models with neither scores nor a failure, in order."""
        return tuple(self.models[name] for name in self.models.unscored)

    def unmeasured(self, pairs: Iterable[Pair]) -> tuple[Pair, ...]:
        """The distinct `pairs` of scored models that were not measured yet."""
        distinct = dict.fromkeys(pair(a, b) for a, b in pairs if a != b)
        return tuple(
            each
            for each in distinct
            if each not in self.readings
            and all(self.models[name].scores is not None for name in each)
        )

    @cached_property
    def relatives(self) -> Relatives:
        """The scored models whose kinship to the best model was measured, least related first."""
        if self.best is None or self.best.name == self.kin.of:
            return self.kin
        pairs = (pair(self.best.name, name) for *_, name in self.models.ranks)
        known = [self.readings[each] for each in pairs if each in self.readings]
        return self.joined(Relatives(of=self.best.name), known)

    def joined(self, relatives: Relatives, readings: Iterable[KinshipReading]) -> Relatives:
        """`relatives` extended by those `readings` that involve its model."""
        closeness, found = self.start.metric.closeness, {}
        for reading in readings:
            if relatives.of in reading.models:
                a, b = reading.models
                found[b if a == relatives.of else a] = reading.value(self.start.metric)
        return relatives.joined_by(
            [
                (self.models[name], closeness(value))
                for name, value in found.items()
                if name in self.models and self.models[name].scores is not None
            ]
        )

    @cached_property
    def kinship(self) -> KinshipMatrix:
        """All readings by the run's metric."""
        return self.kinship_by(self.start.metric)

    def kinship_by(self, metric: Metric) -> KinshipMatrix:
        """All readings by `metric`."""
        return KinshipMatrix.of(metric, self.readings)

    def tried(self, *parents: str) -> bool:
        """Whether these parents were already merged, or their merge failed or was skipped."""
        return frozenset(parents) in self.models.crossed or frozenset(parents) in self.given_up

    def skipped_for(self, number: int) -> tuple[SkippedMerge, ...]:
        """The merges that were skipped when generation `number` was proposed."""
        first, end = (
            bisect_left(self.skipped, each, key=lambda merge: merge.generation)
            for each in (number, number + 1)
        )
        return self.skipped[first:end]

    @property
    def evaluations(self) -> int:
        """The number that `max_evaluations` counts, and the one that all output shows.

        Models scored on the selection split, each once: foundation models, offspring, and those
        that are kept out; reused scores too. Held-out evaluations are counted apart.
        """
        return len(self.models.ranks) + self.models.kept_out

    @property
    def held_out_evaluations(self) -> int:
        """Number of successful held-out evaluations."""
        return sum(
            model.on(split) is not None
            for model in self.models.values()
            for split in model.held_out
        )

    def cost(self, price_per_gpu_hour: float) -> float:
        """The price of the GPU-hours so far."""
        return self.gpu_seconds / 3600 * price_per_gpu_hour

    def after(self, more: Limits) -> Limits:
        """The budget at which a run ends that goes on for `more`."""
        evaluations, hours, cost = more.max_evaluations, more.max_hours, more.max_cost
        return Limits(
            max_evaluations=evaluations and self.evaluations + evaluations,
            max_hours=hours and self.seconds / 3600 + hours,
            max_cost=cost
            and CostLimit(
                price_per_gpu_hour=cost.price_per_gpu_hour,
                limit=self.cost(cost.price_per_gpu_hour) + cost.limit,
            ),
        )

    @property
    def finalists(self) -> tuple[Model, ...]:
        """The models for held-out evaluation: the best model, then the foundation models."""
        foundation = [model for model in self.at_generation(0) if model is not self.best]
        return (*([self.best] if self.best else []), *foundation)

    def unscored_on(self, split: Split) -> tuple[Model, ...]:
        """The finalists that have no result on `split` yet."""
        return tuple(model for model in self.finalists if split not in model.held_out)

    def under(self, objective: ObjectiveName) -> RunState:
        """The same run with its models ranked by another objective; its decisions do not change."""
        started = self.start.model_copy(update={"objective": objective})
        return _judged(replace(self, started=started))

    def judged_as(self, other: RunState) -> RunState:
        """The same run with the objective, reference scores and `skill_kept_at` of another run."""
        kept_at = other.skill_kept_at
        state = self if kept_at == self.skill_kept_at else replace(self, skill_kept_at=kept_at)
        if self.objectives == other.objectives:
            return state
        started = self.start.model_copy(update={"objective": other.start.objective})
        return _under(replace(state, started=started), other.objectives)

    def at_generation(self, number: int) -> tuple[Model, ...]:
        """The models of generation `number`, in order."""
        return self.models.born(number)


def risen(state: RunState) -> tuple[Rise, ...]:
    """The `rises` of a run, including its last generation, which may be open."""
    last = state.generations[-1].number
    return _risen(state.rises, last, state.at_generation(last))


def _risen(rises: tuple[Rise, ...], number: int, born: Iterable[Model]) -> tuple[Rise, ...]:
    top = max((model.worth for model in born if model.worth is not None), default=None)
    if top is None or (rises and top <= rises[-1][1]):
        return rises
    return (*rises, (number, top))


def fold(entries: Iterable[Entry], state: RunState | None = None) -> RunState:
    """The state after `entries`, starting from `state` (default: an empty run).

    Entries can be folded in several steps with the same result.

    Raises:
        ValueError: an entry is not valid after the previous ones.
    """
    state = state or RunState()
    for entry in entries:
        state = apply(state, entry)
    return state


def apply(state: RunState, entry: Entry) -> RunState:
    """The state after one more entry.

    Raises:
        ValueError: the entry is not valid in this state.
    """
    if state.finished and not isinstance(entry.event, RunResumed):
        raise ValueError(f"{entry.event.type} after the end of the run")
    if state.started is None and not isinstance(entry.event, RunStarted):
        raise ValueError(f"a journal starts with run_started, not with {entry.event.type}")
    paused = isinstance(entry.event, RunStarted | RunResumed) or state.last_at is None
    step = 0.0 if paused else max(0.0, entry.at - (state.last_at or 0.0))
    return replace(
        _apply(entry.event, state),
        seconds=state.seconds + step,
        gpu_seconds=state.gpu_seconds + step * state.gpus,
        last_at=entry.at,
    )


@singledispatch
def _apply(event: object, state: RunState) -> RunState:
    raise TypeError(f"no rule for {type(event).__name__}")


@_apply.register
def _(event: RunStarted, state: RunState) -> RunState:
    if state.started is not None:
        raise ValueError("run_started twice")
    models = tuple(
        Model(model.name, "foundation", 0, model.content_id, merged=False)
        for model in event.foundation
    )
    return _judged(
        replace(
            state,
            started=event,
            models=state.models.joined_by(0, models),
            generations=(Generation(0),),
            retention=event.retention,
            skill_kept_at=event.skill_kept_at,
            budget=event.budget,
            gpus=event.gpus,
        )
    )


@_apply.register
def _(event: RunResumed, state: RunState) -> RunState:
    if event.extends:
        state = replace(state, extended=True, finished=False, stop=None, gains=None)
    told = event.budget if event.extends or not state.extended else None
    return replace(
        state,
        budget=told or state.budget,
        gpus=event.gpus,
        retention=event.retention or state.retention,
        skill_kept_at=event.skill_kept_at or state.skill_kept_at,
    )


@_apply.register
def _(event: GenerationProposed, state: RunState) -> RunState:
    expected = len(state.generations)
    if state.open_generation is not None or event.generation != expected:
        raise ValueError(f"generation {event.generation} proposed where {expected} is due")
    models = tuple(
        Model(
            name=candidate.name,
            kind=candidate.proposal.kind,
            generation=event.generation,
            content_id=candidate.recipe.id,
            parents=candidate.proposal.parents,
            candidate=candidate,
            objectives=state.objectives,
        )
        for candidate in event.candidates
    )
    generation = Generation(event.generation, event.candidates)
    return replace(
        state,
        models=state.models.joined_by(event.generation, models),
        generations=(*state.generations, generation),
    )


@_apply.register
def _(event: MergesSkipped, state: RunState) -> RunState:
    due = len(state.generations)
    if state.open_generation is not None or {m.generation for m in event.merges} != {due}:
        raise ValueError(f"merges skipped that are not of generation {due}, which is due")
    for name in {name for merge in event.merges for name in merge.parents}:
        if name not in state.models:
            raise ValueError(f"{name} is not in the run")
    given_up = state.given_up.update({frozenset(merge.parents): None for merge in event.merges})
    return replace(state, skipped=(*state.skipped, *event.merges), given_up=given_up)


@_apply.register
def _(event: ModelMerged, state: RunState) -> RunState:
    state = replace(
        state,
        merges=state.merges + (not _known(state, event.model).merged),
        reused_merges=state.reused_merges + event.reused,
    )
    return _change(state, event.model, merged=True, merged_on=event.host)


@_apply.register
def _(event: ModelScored, state: RunState) -> RunState:
    state = replace(state, reused_evaluations=state.reused_evaluations + event.reused)
    return _change(
        state,
        event.model,
        scores=event.scores,
        scored_on=event.host,
        warnings=event.warnings,
        race=event.race,
        kept_out=_kept_out(event, state),
    )


def _kept_out(event: ModelScored, state: RunState) -> str | None:
    guard = state.start.guard
    if guard is None or not _known(state, event.model).generation:
        return None
    return guard.against(event.scores, state.at_generation(0))


@_apply.register
def _(event: HeldOutScored, state: RunState) -> RunState:
    state = replace(state, reused_held_out=state.reused_held_out + event.reused)
    model = _known(state, event.model)
    held_out = {**model.held_out, event.split: event.scores}
    warnings = (*model.warnings, *event.warnings)
    return _change(state, event.model, held_out=held_out, warnings=warnings)


@_apply.register
def _(event: HeldOutFailed, state: RunState) -> RunState:
    held_out = {**_known(state, event.model).held_out, event.split: event.failure}
    return _change(state, event.model, held_out=held_out)


@_apply.register
def _(event: CandidateFailed, state: RunState) -> RunState:
    return _change(state, event.model, failure=event.failure)


@_apply.register
def _(event: KinshipMeasured, state: RunState) -> RunState:
    fresh = {reading.models: reading for reading in event.readings}
    used = "relatives" in vars(state) or (state.best and state.kin.of == state.best.name)
    kin = state.joined(state.relatives, fresh.values()) if used else state.kin
    return replace(state, readings=state.readings.update(fresh), kin=kin)


@_apply.register
def _(event: GenerationFinished, state: RunState) -> RunState:
    last = state.open_generation
    if last is None or last.number != event.generation:
        raise ValueError(f"generation {event.generation} finished, but it is not open")
    closed = replace(last, pool=event.pool, stop=event.stop)
    generations = (*state.generations[:-1], closed)
    return replace(state, generations=generations, rises=risen(state), stop=event.stop)


@_apply.register
def _(event: GainsTested, state: RunState) -> RunState:
    return replace(state, gains=event.gains)


@_apply.register
def _(event: RunFinished, state: RunState) -> RunState:
    return replace(state, stop=event.stop, finished=True)


def _judged(state: RunState) -> RunState:
    """The state with all models ranked by the run's objective, using the references so far."""
    found = objectives(state.start.objective, state.at_generation(0))
    return state if found == state.objectives else _under(state, found)


def _under(state: RunState, found: Mapping[Split, Objective]) -> RunState:
    models = Population.of(replace(model, objectives=found) for model in state.models.values())
    rises: tuple[Rise, ...] = ()
    for generation in state.generations:
        if generation.pool is not None:
            rises = _risen(rises, generation.number, models.born(generation.number))
    return replace(state, objectives=found, models=models, rises=rises)


def _known(state: RunState, name: str) -> Model:
    model = state.models.get(name)
    if model is None:
        raise ValueError(f"{name} is not in the run")
    return model


def _change(state: RunState, name: str, **changes: object) -> RunState:
    changed: Model = replace(_known(state, name), **changes)  # type: ignore[arg-type]
    state = replace(state, models=state.models.changed(changed))
    # Scores of foundation models, on any split, can be references of the objective.
    return state if changed.generation and not changed.held_out else _judged(state)
