"""JSON documents of a run for scripts. Numbers are not rounded; unknown values are null.

Within one value of `format`, keys may be added but are never renamed or removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evomerge.domain.baseline import Baseline
from evomerge.domain.difference import Gains
from evomerge.domain.lineage import ancestors, merge_gain
from evomerge.domain.model import Model, SkippedMerge
from evomerge.domain.skills import Skills, lost_skills, skills_of
from evomerge.domain.state import RunState
from evomerge.domain.warnings import warning_summaries
from evomerge.terminal.held_out import held_out_gain
from evomerge.terminal.status import RunStatus
from evomerge.views.outcome import best_over_foundation

FORMAT = 1

Document = dict[str, Any]


def status_document(status: RunStatus, resume: str | None, now: float) -> Document:
    """The output of `evomerge status --json`."""
    last_at = status.state.last_at
    return {
        **run_document(status),
        **_course(status.state),
        "baseline": status.baseline and baseline_brief(status.baseline),
        "holder": status.holder,
        "tasks": [asdict(task) for task in status.tasks],
        "last_event": status.last_event,
        "last_event_at": last_at,
        "last_event_age_seconds": None if last_at is None else max(0.0, now - last_at),
        "resume": resume,
    }


def baseline_brief(baseline: Baseline) -> Document:
    """The baseline: merging all foundation models at once."""
    return {
        "run": baseline.run,
        "evaluations": baseline.merges,
        "model": baseline.best.name,
        "score": baseline.best.score,
        "held_out": baseline.best.score_on("held_out"),
    }


def run_document(status: RunStatus) -> Document:
    """One run in the output of `evomerge list --json`."""
    return {
        "format": FORMAT,
        "name": status.name,
        "path": str(status.path),
        "state": status.phase,
        "damage": status.damage,
        "reused": status.state.reused_merges
        + status.state.reused_evaluations
        + status.state.reused_held_out,
        **_result(status.state),
    }


def result_document(state: RunState) -> Document:
    """The output of `evomerge run --json`: the result, with the lineage of the best model."""
    best = state.best
    names = [] if best is None else [best.name, *ancestors(best.name, state.models)]
    return {
        "format": FORMAT,
        "name": state.start.name,
        "state": "finished" if state.finished else "stopped",
        **_result(state),
        **_course(state),
        "lineage": [model_brief(state.models[name], state) for name in names],
    }


def runs_document(statuses: Sequence[RunStatus]) -> Document:
    """The output of `evomerge list --json`."""
    return {"format": FORMAT, "runs": [run_document(status) for status in statuses]}


def tree_document(state: RunState, model: str) -> Document:
    """The output of `evomerge tree --json`: the model, then its ancestors, nearest first."""
    names = [model, *ancestors(model, state.models)]
    return {
        "format": FORMAT,
        "model": model,
        "models": [model_brief(state.models[name], state) for name in names],
        "skipped": _skipped(state.skipped),
    }


def model_document(state: RunState, model: str) -> Document:
    """The output of `evomerge show --json`."""
    subject = state.models[model]
    proposal = subject.candidate and subject.candidate.proposal
    recipe = subject.candidate and subject.candidate.recipe
    others = [name for name in state.models if name != model]
    kinship = {name: state.kinship.between(model, name) for name in others}
    errors = {name: state.kinship.error(model, name) for name in others}
    return {
        "format": FORMAT,
        **model_brief(subject, state),
        "source": next((f.source for f in state.start.foundation if f.name == model), None),
        "reason": proposal and proposal.reason,
        "parents_mean_score": proposal and proposal.mean_score,
        "metric": state.start.metric.value,
        "kinship": {name: value for name, value in kinship.items() if value is not None},
        "kinship_errors": {name: error for name, error in errors.items() if error is not None},
        "recipe": recipe and recipe.model_dump(mode="json"),
        "scores": subject.scores and subject.scores.model_dump(mode="json"),
        "held_out": {
            split: outcome.model_dump(mode="json") for split, outcome in subject.held_out.items()
        },
        "warnings": [warning.sentence for warning in subject.warnings],
        "children": [m.name for m in state.models.values() if model in m.parents],
        "rank": state.ranking.index(subject) + 1 if subject.selectable else None,
    }


def gains_document(run: str, gains: Gains) -> Document:
    """The output of `evomerge gain --json`."""
    comparisons = [
        {**each.model_dump(mode="json"), "certain": each.certain} for each in gains.comparisons
    ]
    return {
        "format": FORMAT,
        "run": run,
        **gains.model_dump(mode="json"),
        "comparisons": comparisons,
    }


def _result(state: RunState) -> Document:
    """Settings, best model and counts."""
    start, over = state.started, best_over_foundation(state)
    held_out = held_out_gain(state)
    return {
        "strategy": start and start.strategy,
        "k": start and start.k,
        "metric": start and start.metric.value,
        "seed": start and start.seed,
        "objective": start and start.objective,
        "config_id": start and start.config_id,
        "generation": len(state.generations) - 1 if state.generations else None,
        "stop": state.stop,
        "best": state.best and model_brief(state.best, state),
        "skills": skills_brief(skills_of(state)),
        "best_foundation": over and model_brief(over[0], state),
        "gain_over_foundation": over and over[1],
        "held_out_gain_over_foundation": held_out and held_out[1],
        "held_out_splits": [] if start is None else list(start.held_out_splits),
        "warnings": list(warning_summaries(state.models.values())),
        "gains": state.gains and state.gains.model_dump(mode="json"),
        "merges": state.merges,
        "evaluations": state.evaluations,
        "held_out_evaluations": state.held_out_evaluations,
        "reused_merges": state.reused_merges,
        "reused_evaluations": state.reused_evaluations,
        "reused_held_out": state.reused_held_out,
        "failures": state.models.failures,
        "guard": start and start.guard and start.guard.model_dump(mode="json"),
        "kept_out": state.models.kept_out,
        "unscored": len(state.unscored),
        "hours": state.seconds / 3600,
        "gpu_hours": state.gpu_seconds / 3600,
        "budget": state.budget.model_dump(mode="json"),
        "cost": (limit := state.budget.max_cost) and state.cost(limit.price_per_gpu_hour),
    }


def _course(state: RunState) -> Document:
    """The pool now and after every generation; empty for a run without events."""
    return {
        "pool": []
        if state.started is None
        else [model_brief(model, state) for model in state.pool],
        "lost_skills": [
            {"task": s.task, "holder": s.holder, "best": s.best, "pool_best": s.value}
            for s in lost_skills(state)
        ],
        "generations": [_generation(number, state) for number in range(len(state.generations))],
        "skipped": _skipped(state.skipped),
    }


def skills_brief(skills: Skills | None) -> Document | None:
    """The skills that a model keeps."""
    return None if skills is None else {**asdict(skills), "kept": skills.kept}


def _skipped(merges: Sequence[SkippedMerge]) -> list[Document]:
    return [{**merge.model_dump(mode="json"), "reason": merge.reason} for merge in merges]


def model_brief(model: Model, state: RunState) -> Document:
    """MODEL as documented in `evomerge status --help`."""
    proposal = model.candidate and model.candidate.proposal
    return {
        "name": model.name,
        "kind": model.kind,
        "generation": model.generation,
        "content_id": model.content_id,
        "parents": list(model.parents),
        "parents_kinship": proposal and proposal.kinship,
        "merged": model.merged,
        "merged_on": model.merged_on or None,
        "scored_on": model.scored_on or None,
        "score": model.score,
        "stderr": model.stderr,
        "gain": merge_gain(model, state.models),
        "perplexity": model.perplexity,
        "kept_out": model.kept_out,
        "failure": model.failure and model.failure.model_dump(mode="json"),
        "held_out": model.score_on("held_out"),
        "selection_gap": model.selection_gap,
        "final": model.score_on("final"),
    }


def _generation(number: int, state: RunState) -> Document:
    generation, born = state.generations[number], state.at_generation(number)
    pool = generation.pool
    return {
        "generation": number,
        "models": [model.name for model in born],
        "pool": None if pool is None else list(pool),
        "pool_kinship": None if pool is None else state.kinship.mean(pool),
        "pool_kinship_error": None if pool is None else state.kinship.mean_error(pool),
        "best_score": state.models[pool[0]].score if pool else None,
    }
