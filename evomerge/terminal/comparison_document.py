"""A comparison as JSON. Numbers are not rounded; unknown values are null."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evomerge.comparison.arms import Arm
from evomerge.comparison.budgets import Budget
from evomerge.comparison.compared import Comparison, Versus
from evomerge.comparison.divergence import Divergence
from evomerge.comparison.exploration import exploration_of
from evomerge.comparison.members import Member
from evomerge.domain.difference import Gains
from evomerge.domain.lineage import ancestors
from evomerge.domain.skills import skills_of
from evomerge.terminal.documents import (
    FORMAT,
    Document,
    baseline_brief,
    gains_document,
    model_brief,
    skills_brief,
)

_OF_WINNERS = {"split", "comparisons", "missing"}


def comparison_document(comparison: Comparison, winners: Gains) -> Document:
    """The output of `evomerge compare --json`."""
    return {
        "format": FORMAT,
        "evaluation_id": comparison.members[0].best.scores.evaluation_id
        if comparison.members[0].best.scores
        else None,
        "objective": comparison.objective,
        "arms": [_arm(arm) for arm in comparison.arms],
        "budgets": [_budget(budget, comparison) for budget in comparison.budgets],
        "versus": [_versus(versus) for versus in comparison.versus],
        "winners": {
            key: value for key, value in gains_document("", winners).items() if key in _OF_WINNERS
        },
        "caveats": list(comparison.caveats),
        "baseline": comparison.baseline and baseline_brief(comparison.baseline),
    }


def _arm(arm: Arm) -> Document:
    return {
        "arm": arm.label,
        "score": asdict(arm.score),
        "held_out": arm.held_out and asdict(arm.held_out),
        "median_run": arm.median.name,
        "alike": arm.alike,
        "runs": [_member(member) for member in arm.members],
    }


def _member(member: Member) -> Document:
    state = member.state
    names = [member.best.name, *ancestors(member.best.name, state.models)]
    return {
        "name": member.name,
        "seed": member.seed,
        "finished": state.finished,
        "stop": state.stop,
        "best": model_brief(state.models[member.best.name], state),
        "gain_over_foundation": member.gain,
        "skills": skills_brief(skills_of(state, member.best)),
        "generations": len(state.generations) - 1,
        "evaluations": member.state.evaluations,
        "merges": state.merges,
        "failures": state.models.failures,
        "reused": member.reused,
        "spent_hours": state.seconds / 3600,
        "work_hours": _hours(member.course[-1].work),
        "exploration": asdict(exploration_of(member)),
        "lineage": names,
        "models": [model_brief(model, state) for model in state.models.values()],
        "course": [
            {
                "evaluations": point.evaluations,
                "merges": point.merges,
                "spent_hours": point.spent / 3600,
                "work_hours": _hours(point.work),
                "best": point.best.name,
                "score": point.best.score,
            }
            for point in member.course
        ],
    }


def _budget(budget: Budget, comparison: Comparison) -> Document:
    return {
        "unit": budget.unit,
        "amount": budget.amount,
        "best": {
            arm.label: spread and asdict(spread)
            for arm, spread in zip(comparison.arms, budget.best, strict=True)
        },
    }


def _versus(versus: Versus) -> Document:
    return {
        "arm": versus.second,
        "against": versus.first,
        "points": asdict(versus.points),
        "points_at_equal_evaluations": versus.at_equal and asdict(versus.at_equal),
        "equal_evaluations": versus.evaluations,
        "extra_evaluations": versus.extra_evaluations,
        "paired_seeds": list(versus.paired),
        "divergences": [_divergence(divergence) for divergence in versus.divergences],
    }


def _divergence(divergence: Divergence) -> dict[str, Any]:
    return {
        "runs": [divergence.first, divergence.second],
        "generation": divergence.generation,
        "shared": divergence.shared,
        "only_first": [model.name for model in divergence.only_first],
        "only_second": [model.name for model in divergence.only_second],
        "ended": divergence.ended,
        "why": divergence.why,
    }


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600
