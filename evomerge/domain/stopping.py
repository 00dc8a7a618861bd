"""The criteria that end a run, each a pure function of its state at the end of a generation.

`pool_unchanged` is the criterion of Algorithm 1, `kinship_saturation` the paper's early stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import BeforeValidator, Discriminator, Field, Tag

from evomerge.domain.kinship import Pair, all_pairs
from evomerge.domain.state import RunState, highest_worth
from evomerge.domain.value import Value


class Criterion(Protocol):
    """One reason to stop."""

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """The pairs of models whose kinship `reached` reads in this state.

        Args:
            state: when all children of its last generation are scored or failed.
        """

    def reached(self, state: RunState) -> str | None:
        """One sentence that says why to stop now, or None to go on."""


class _OfScores(Value):
    """A criterion that reads no kinship."""

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """None."""
        return ()


class PoolUnchanged(_OfScores):
    """S' = S: the generation changed nothing in the top k (Algorithm 1, line 13)."""

    pool_unchanged: Literal[True] = True

    def reached(self, state: RunState) -> str | None:
        """Compare the pool with that of the generation before."""
        if len(state.generations) < 3:  # S is first defined after generation 1
            return None
        before = state.generations[-2].pool or ()
        now = tuple(model.name for model in state.pool)
        if set(before) != set(now):
            return None
        return "pool_unchanged: no child entered the top k"


class NoImprovementRule(Value):
    """How long the best score may stand still."""

    patience: int = Field(ge=1, description="generations without improvement before the stop")
    min_delta: float = Field(
        default=0.0, ge=0, description="points by which the best score must rise to count"
    )


class NoImprovement(_OfScores):
    """The best score has not risen for `patience` generations."""

    no_improvement: NoImprovementRule

    def reached(self, state: RunState) -> str | None:
        """Count generations since the best score last rose by more than `min_delta`."""
        rule = self.no_improvement
        *closed, last = state.generations
        tops = [generation.top for generation in closed]
        tops.append(highest_worth(state.at_generation(last.number)))
        best, last_rise = None, 0
        for number, top in enumerate(tops):
            if top is not None and (best is None or top.exceeds(best, by=rule.min_delta)):
                best, last_rise = top, number
        if last.number - last_rise < rule.patience:
            return None
        return f"no_improvement: best score unchanged for {rule.patience} generations"


class SaturationRule(Value):
    """When a pool counts as saturated."""

    threshold: float = Field(
        default=0.9,
        ge=-1,
        le=1,
        description="mean pairwise kinship of the pool above which the run stops",
    )


class KinshipSaturation(Value):
    """The mean pairwise kinship of S exceeds the threshold (the paper's section 5.3)."""

    kinship_saturation: SaturationRule

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """Every pair of the pool."""
        return tuple(all_pairs([model.name for model in state.pool]))

    def reached(self, state: RunState) -> str | None:
        """Compare the pool's mean kinship with the threshold."""
        mean = state.kinship.mean([model.name for model in state.pool])
        if mean is None or mean <= self.kinship_saturation.threshold:
            return None
        return f"kinship_saturation: mean kinship of the pool is {mean:.3f}"


class MaxGenerations(_OfScores):
    """A number of generations, foundation models not counted."""

    max_generations: int = Field(ge=1)

    def reached(self, state: RunState) -> str | None:
        """Compare the number of the last generation."""
        if state.generations[-1].number < self.max_generations:
            return None
        return f"max_generations: {self.max_generations} generations done"


class MaxEvaluations(_OfScores):
    """A number of scored models, foundation models included.

    A generation is cut to what is left, so that the budget is never overshot.
    """

    max_evaluations: int = Field(ge=1)

    def reached(self, state: RunState) -> str | None:
        """Compare the number of scored models."""
        if state.evaluations < self.max_evaluations:
            return None
        return f"max_evaluations: {state.evaluations} models scored"


class MaxHours(_OfScores):
    """Hours of work, pauses between an interruption and its resume left out."""

    max_hours: float = Field(gt=0)

    def reached(self, state: RunState) -> str | None:
        """Compare the time spent."""
        hours = state.seconds / 3600
        return None if hours < self.max_hours else f"max_hours: {hours:.2f} hours spent"


CRITERIA: dict[str, type[Value]] = {
    "pool_unchanged": PoolUnchanged,
    "no_improvement": NoImprovement,
    "kinship_saturation": KinshipSaturation,
    "max_generations": MaxGenerations,
    "max_evaluations": MaxEvaluations,
    "max_hours": MaxHours,
}


def _spelled_out(value: Any) -> Any:
    """A criterion named without settings, as the mapping that it stands for."""
    settings = {"pool_unchanged": True, "kinship_saturation": {}}
    return {value: settings[value]} if isinstance(value, str) and value in settings else value


def _tag(value: Any) -> str | None:
    """The criterion that a mapping names: its only key."""
    if isinstance(value, Value):
        return next(iter(type(value).model_fields))
    keys = list(value) if isinstance(value, dict) else []
    return keys[0] if len(keys) == 1 and keys[0] in CRITERIA else None


_Spelled = Annotated[
    Annotated[PoolUnchanged, Tag("pool_unchanged")]
    | Annotated[NoImprovement, Tag("no_improvement")]
    | Annotated[KinshipSaturation, Tag("kinship_saturation")]
    | Annotated[MaxGenerations, Tag("max_generations")]
    | Annotated[MaxEvaluations, Tag("max_evaluations")]
    | Annotated[MaxHours, Tag("max_hours")],
    Discriminator(_tag),
]

AnyCriterion = Annotated[
    _Spelled,
    BeforeValidator(
        _spelled_out,
        json_schema_input_type=Literal["pool_unchanged", "kinship_saturation"] | _Spelled,
    ),
]


def first_reached(criteria: Sequence[Criterion], state: RunState) -> str | None:
    """The reason of the first criterion, in the order of the config, that is reached."""
    return next((why for c in criteria if (why := c.reached(state)) is not None), None)


def evaluations_left(criteria: Sequence[Criterion], state: RunState) -> int | None:
    """How many more models may be scored; None without a `max_evaluations`."""
    budgets = [c.max_evaluations for c in criteria if isinstance(c, MaxEvaluations)]
    return None if not budgets else max(0, min(budgets) - state.evaluations)
