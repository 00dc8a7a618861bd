"""The result of a run: the gain of its best model, and beside it the skills that it lost."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.domain.model import Model
from evomerge.domain.population import rank
from evomerge.domain.scores import Split
from evomerge.domain.skills import Skill, Skills, lost_skills, skills_of
from evomerge.domain.state import RunState
from evomerge.views.intervals import half_width, of_difference


@dataclass(frozen=True)
class Gain:
    """The gain of a model over the best foundation model, in points of the objective.

    Attributes:
        over: the best foundation model by the selection split.
        split: the items that both are compared on. On the selection split the gain of a model that
            was selected by its score is overestimated.
        low, high: the 95 % interval; None without standard errors.
        paired: whether the interval is that of the paired test on the same items; else both scores
            are taken as independent, and the interval is too wide.
        p: of the paired test, with Holm's correction.
    """

    model: str
    over: str
    split: Split
    value: float
    low: float | None
    high: float | None
    paired: bool
    p: float | None = None

    @property
    def certain(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class RunOutcome:
    """The result of a run so far.

    Attributes:
        model: the best model by the selection split; None before the first score.
        score, held_out: its scores; `error` and `held_out_error` are half of their 95 % intervals.
        gain: None if the best model is a foundation model, or none of those is scored.
        skills: kept and lost against the best foundation model on each task; None until all
            foundation models are scored.
        pool_lost: the skills that no model of the pool keeps.
    """

    model: str | None
    score: float | None = None
    error: float | None = None
    held_out: float | None = None
    held_out_error: float | None = None
    gain: Gain | None = None
    skills: Skills | None = None
    pool_lost: tuple[Skill, ...] = ()


def outcome_of(state: RunState) -> RunOutcome:
    """The result of a run that has started."""
    best = state.best
    if best is None:
        return RunOutcome(None)
    held_out = best.estimate("held_out")
    return RunOutcome(
        best.name,
        best.score,
        half_width(best.stderr),
        held_out and held_out.value,
        half_width(held_out.stderr) if held_out else None,
        gain_of(state, best),
        skills_of(state),
        lost_skills(state),
    )


def best_foundation(state: RunState) -> Model | None:
    """The best scored foundation model by the selection split."""
    scored = (model for model in state.at_generation(0) if model.scores is not None)
    return min(scored, key=rank, default=None)


def best_over_foundation(state: RunState) -> tuple[Model, float] | None:
    """The best foundation model, and the gain of the best model over it on the selection split."""
    over = best_foundation(state)
    if over is None or state.best is None:
        return None
    return over, (state.best.score or 0.0) - (over.score or 0.0)


def gain_of(state: RunState, model: Model) -> Gain | None:
    """The gain of a model over the best foundation model, on held-out items if both have them.

    None for that foundation model, and if a score is missing.
    """
    over = best_foundation(state)
    if over is None or over.name == model.name:
        return None
    for each in state.gains.comparisons if state.gains else ():
        if state.gains is not None and (each.a, each.b) == (model.name, over.name):
            d = each.difference
            split = state.gains.split
            return Gain(model.name, over.name, split, d.value, d.low, d.high, True, each.corrected)
    splits: tuple[Split, ...] = ("held_out", "selection")
    for split in splits:
        ours, theirs = model.estimate(split), over.estimate(split)
        if ours is not None and theirs is not None:
            value = ours.value - theirs.value
            error = of_difference(half_width(ours.stderr), half_width(theirs.stderr))
            low, high = (None, None) if error is None else (value - error, value + error)
            return Gain(model.name, over.name, split, value, low, high, paired=False)
    return None
