"""The criteria that end a run, each a pure function of its state at the end of a generation.

`pool_unchanged` is the criterion of Algorithm 1, `kinship_saturation` the paper's early stop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from evomerge.domain.kinship import Pair, all_pairs
from evomerge.domain.settings import identity, named
from evomerge.domain.state import RunState, risen
from evomerge.domain.value import Value
from evomerge.plugins import Registry


class Criterion(Value, ABC):
    """A reason to end a run; a frozen value whose fields are its options.

    Attributes:
        main: the option that stands for all of them: `max_generations: 10`.
    """

    main: ClassVar[str | None] = None

    name: str = identity(default="", description="name of the criterion")

    @abstractmethod
    def reached(self, state: RunState) -> str | None:
        """One sentence that says why to stop now, or None to go on.

        Args:
            state: when all children of its last generation are scored or failed.
        """

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """The pairs of models whose kinship `reached` reads in this state; here none."""
        return ()

    @model_serializer(mode="wrap")
    def _spelled(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As a config has it: `{name: options}`."""
        options = handler(self)
        name = options.pop("name")
        return {name: options[self.main] if self.main else options or True}


class PoolUnchanged(Criterion):
    """S' = S: the generation changed nothing in the top k (Algorithm 1, line 13)."""

    name: Literal["pool_unchanged"] = named("pool_unchanged")

    def reached(self, state: RunState) -> str | None:
        """Compare the pool with that of the generation before."""
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
    patience: int = identity(ge=1, description="generations without improvement before the stop")
    min_delta: float = identity(
        default=0.0, ge=0, description="points by which the best score must rise to count"
    )

    def reached(self, state: RunState) -> str | None:
        """Count generations since the best score last rose by more than `min_delta`."""
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
        description="mean pairwise kinship of the pool above which the run stops",
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
    """A number of generations, foundation models not counted."""

    main = "max_generations"

    name: Literal["max_generations"] = named("max_generations")
    max_generations: int = identity(
        ge=1, description="A number of generations, foundation models not counted."
    )

    def reached(self, state: RunState) -> str | None:
        """Compare the number of the last generation."""
        if state.generations[-1].number < self.max_generations:
            return None
        return f"max_generations: {self.max_generations} generations done"


class MaxEvaluations(Criterion):
    """A number of scored models, foundation models included.

    A generation is cut to what is left, so that the budget is never overshot.
    """

    main = "max_evaluations"

    name: Literal["max_evaluations"] = named("max_evaluations")
    max_evaluations: int = identity(
        ge=1, description="A number of scored models, foundation models included."
    )

    def reached(self, state: RunState) -> str | None:
        """Compare the number of scored models."""
        if state.evaluations < self.max_evaluations:
            return None
        return f"max_evaluations: {state.evaluations} models scored"


class MaxHours(Criterion):
    """Hours of work, pauses between an interruption and its resume left out."""

    main = "max_hours"

    name: Literal["max_hours"] = named("max_hours")
    max_hours: float = identity(gt=0, description="Hours of work, pauses left out.")

    def reached(self, state: RunState) -> str | None:
        """Compare the time spent."""
        hours = state.seconds / 3600
        return None if hours < self.max_hours else f"max_hours: {hours:.2f} hours spent"


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
        )
    },
    "evomerge.stopping",
)


def first_reached(criteria: Sequence[Criterion], state: RunState) -> str | None:
    """The reason of the first criterion, in the order of the config, that is reached."""
    return next((why for c in criteria if (why := c.reached(state)) is not None), None)


def evaluations_left(criteria: Sequence[Criterion], state: RunState) -> int | None:
    """How many more models may be scored; None without a `max_evaluations`."""
    budgets = [c.max_evaluations for c in criteria if isinstance(c, MaxEvaluations)]
    return None if not budgets else max(0, min(budgets) - state.evaluations)
