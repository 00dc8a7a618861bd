"""Stopping criteria, pure functions of the run's state at the end of a generation.

`pool_unchanged` is the criterion of Algorithm 1, `kinship_saturation` the paper's early stop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from evomerge.domain.kinship import Pair, all_pairs
from evomerge.domain.limits import CostLimit, Limits
from evomerge.domain.settings import identity, named
from evomerge.domain.state import RunState, risen
from evomerge.domain.value import Value
from evomerge.plugins import Registry, blamed


class Criterion(Value, ABC):
    """A stopping criterion; a frozen value whose fields are its options.

    Attributes:
        main: the option that can be given without its name, as in `max_generations: 10`.
    """

    main: ClassVar[str | None] = None

    name: str = identity(default="", description="name of the criterion")

    @abstractmethod
    def reached(self, state: RunState) -> str | None:
        """The reason to stop, as `<name>: <sentence>`, or None to continue.

        Args:
            state: the run when every child of the last generation is scored or failed.
        """

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """The pairs whose kinship `reached` reads in this state; default: none."""
        return ()

    @model_serializer(mode="wrap")
    def _spelled(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The notation of configs: `{name: options}`."""
        options = handler(self)
        name = options.pop("name")
        return {name: options[self.main] if self.main else options or True}


class PoolUnchanged(Criterion):
    """S' = S: the generation did not change the pool (Algorithm 1, line 13)."""

    name: Literal["pool_unchanged"] = named("pool_unchanged")

    def reached(self, state: RunState) -> str | None:
        """Compare the pool with that of the previous generation."""
        if len(state.generations) < 3:  # S is first defined after generation 1
            return None
        before = state.generations[-2].pool or ()
        now = tuple(model.name for model in state.pool)
        if set(before) != set(now):
            return None
        return "pool_unchanged: no child entered the top k"


class NoImprovement(Criterion):
    """The best score has not risen for `patience` generations."""

    name: Literal["no_improvement"] = named("no_improvement")
    patience: int = identity(ge=1, description="number of generations without improvement")
    min_delta: float = identity(
        default=0.0, ge=0, description="improvements count if they are larger than this, in points"
    )

    def reached(self, state: RunState) -> str | None:
        """Count the generations since the last improvement by more than `min_delta`."""
        best, last_rise, last = None, 0, state.generations[-1]
        for number, worth in risen(state):
            if best is None or worth.exceeds(best, by=self.min_delta):
                best, last_rise = worth, number
        if last.number - last_rise < self.patience:
            return None
        return f"no_improvement: best score unchanged for {self.patience} generations"


class KinshipSaturation(Criterion):
    """The mean pairwise kinship of S exceeds the threshold (the paper's section 5.3)."""

    name: Literal["kinship_saturation"] = named("kinship_saturation")
    threshold: float = identity(
        default=0.9,
        ge=-1,
        le=1,
        description="the run stops above this mean pairwise kinship of the pool",
    )

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """Every pair of the pool."""
        return tuple(all_pairs([model.name for model in state.pool]))

    def reached(self, state: RunState) -> str | None:
        """Compare the pool's mean kinship with the threshold."""
        mean = state.kinship.mean([model.name for model in state.pool])
        if mean is None or mean <= self.threshold:
            return None
        return f"kinship_saturation: mean kinship of the pool is {mean:.3f}"


class MaxGenerations(Criterion):
    """Maximum number of generations, without generation 0."""

    main = "max_generations"

    name: Literal["max_generations"] = named("max_generations")
    max_generations: int = identity(
        ge=1, description="maximum number of generations, without generation 0"
    )

    def reached(self, state: RunState) -> str | None:
        """Compare the number of generations."""
        if state.generations[-1].number < self.max_generations:
            return None
        return f"max_generations: {self.max_generations} generations done"


class MaxEvaluations(Criterion):
    """Maximum number of scored models, including foundation models.

    The last generation is cut, so that the budget is never exceeded.
    """

    main = "max_evaluations"

    name: Literal["max_evaluations"] = named("max_evaluations")
    max_evaluations: int = identity(
        ge=1, description="maximum number of scored models, including foundation models"
    )

    def reached(self, state: RunState) -> str | None:
        """Compare the number of scored models."""
        if state.evaluations < self.max_evaluations:
            return None
        return f"max_evaluations: {state.evaluations} models scored"


class MaxHours(Criterion):
    """Maximum hours of work, without pauses between an interruption and a resume."""

    main = "max_hours"

    name: Literal["max_hours"] = named("max_hours")
    max_hours: float = identity(gt=0, description="maximum hours of work, without pauses")

    def reached(self, state: RunState) -> str | None:
        """Compare the time spent."""
        hours = state.seconds / 3600
        return None if hours < self.max_hours else f"max_hours: {hours:.2f} hours spent"


class MaxCost(Criterion):
    """Maximum price of the GPU-hours: hours of work of each session, times the GPUs it used."""

    name: Literal["max_cost"] = named("max_cost")
    price_per_gpu_hour: float = identity(gt=0, description="price of one GPU-hour, such as 2.5")
    limit: float = identity(gt=0, description="the run stops when this much is spent")

    def reached(self, state: RunState) -> str | None:
        """Compare the money spent."""
        cost = state.cost(self.price_per_gpu_hour)
        return None if cost < self.limit else f"max_cost: {cost:.2f} of {self.limit:g} spent"


CRITERIA: Registry[Criterion] = Registry(
    "a stopping criterion",
    Criterion,  # type: ignore[type-abstract]
    {
        str(kind.model_fields["name"].default): kind
        for kind in (
            PoolUnchanged,
            NoImprovement,
            KinshipSaturation,
            MaxGenerations,
            MaxEvaluations,
            MaxHours,
            MaxCost,
        )
    },
    "evomerge.stopping",
)


def first_reached(criteria: Sequence[Criterion], state: RunState) -> str | None:
    """The reason of the first criterion that is reached, in the order of the config.

    Raises:
        PluginError: a criterion of another package failed.
    """
    for criterion in criteria:
        with blamed(criterion):
            why = criterion.reached(state)
        if why is not None:
            return why
    return None


def pairs_read(criteria: Sequence[Criterion], state: RunState) -> list[Pair]:
    """The pairs of models whose kinship the criteria read.

    Raises:
        PluginError: a criterion of another package failed.
    """
    pairs: list[Pair] = []
    for criterion in criteria:
        with blamed(criterion):
            pairs += criterion.pairs(state)
    return pairs


def budget_of(criteria: Sequence[Criterion]) -> Limits:
    """The limits among the criteria; of several on the same, the lowest."""
    evaluations = [each.max_evaluations for each in criteria if isinstance(each, MaxEvaluations)]
    hours = [each.max_hours for each in criteria if isinstance(each, MaxHours)]
    costs = [each for each in criteria if isinstance(each, MaxCost)]
    costs.sort(key=lambda each: each.limit / each.price_per_gpu_hour)
    return Limits(
        max_evaluations=min(evaluations, default=None),
        max_hours=min(hours, default=None),
        max_cost=CostLimit(price_per_gpu_hour=costs[0].price_per_gpu_hour, limit=costs[0].limit)
        if costs
        else None,
    )


def criteria_of(budget: Limits) -> tuple[Criterion, ...]:
    """The criteria of a run that was extended to `budget`."""
    found: list[Criterion] = []
    if budget.max_evaluations is not None:
        found.append(MaxEvaluations(max_evaluations=budget.max_evaluations))
    if budget.max_hours is not None:
        found.append(MaxHours(max_hours=budget.max_hours))
    if (cost := budget.max_cost) is not None:
        found.append(MaxCost(price_per_gpu_hour=cost.price_per_gpu_hour, limit=cost.limit))
    return tuple(found)


def evaluations_left(criteria: Sequence[Criterion], state: RunState) -> int | None:
    """The remaining budget of evaluations; None without `max_evaluations`."""
    most = budget_of(criteria).max_evaluations
    return None if most is None else max(0, most - state.evaluations)
