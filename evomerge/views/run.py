"""A run as it is shown."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from evomerge.analysis.curves import Step, stage_points, steps
from evomerge.analysis.stages import Stages, stages
from evomerge.domain.baseline import Baseline
from evomerge.domain.difference import Gains
from evomerge.domain.kinship import Metric
from evomerge.domain.limits import Limits
from evomerge.domain.model import Foundation
from evomerge.domain.objective import MEANINGS, Objective
from evomerge.domain.state import Entry, RunState
from evomerge.domain.warnings import warning_summaries
from evomerge.store.recorded import Recorded, recorded_in
from evomerge.strategies import merge_kinds
from evomerge.views.family import Family, family_of
from evomerge.views.kinship import Kinship, MergeGains, kinship_of_run, merge_gains
from evomerge.views.models import ModelRow, models_of
from evomerge.views.outcome import RunOutcome, best_foundation, outcome_of
from evomerge.views.search import SearchPath, search_of
from evomerge.views.tasks import Tasks, tasks_of

Phase = Literal["running", "stopped", "finished", "damaged"]

PAPERS_THRESHOLD = 0.9
"""The mean kinship of a pool at which the paper stops."""


@dataclass(frozen=True)
class Work:
    """What a run has done, with work that was reused from the store counted once.

    Attributes:
        evaluations: models scored on the selection split, foundation models included.
        held_out_evaluations: evaluations at the end, one for each model and later split.
        hours: working time of its drivers.
        limits: its budget.
        gpus: the number in use in its last session.
        cost: of its GPU-hours, at the price of its budget; None without one.
    """

    generations: int
    merges: int
    evaluations: int
    held_out_evaluations: int
    reused_merges: int
    reused_evaluations: int
    failures: int
    kept_out: int
    skipped: int
    unscored: int
    hours: float
    limits: Limits
    gpus: int
    cost: float | None


@dataclass(frozen=True)
class LayerChange:
    """The difference of one layer between the best model and another model.

    Attributes:
        other: a parent, or the base model.
        layer: index from 0; `kind` is attention or mlp.
        rms: root mean square of the difference of weights, sqrt(Σ(a − b)² / n).
    """

    other: str
    layer: int
    kind: str
    rms: float


@dataclass(frozen=True)
class GenerationRow:
    """A generation: the best so far and the pool at its end.

    Attributes:
        best: the best model so far, and `best_score` its score.
        pool_score: mean score of the pool.
        pool_kinship: mean over all pairs of the pool; None if one has none.
        pool_kinship_error: half its 95 % interval if pairs are estimated; else None.
    """

    generation: int
    models: int
    best: str
    best_score: float | None
    pool: tuple[str, ...]
    pool_score: float
    pool_kinship: float | None
    pool_kinship_error: float | None


@dataclass(frozen=True)
class RunView:
    """All that is shown of a run.

    Attributes:
        stop: what ended the search; None while it goes on.
        kinds: kinds of merges, with their labels and colours.
        meaning: what a score is.
        models: in the order in which they were proposed.
        best_foundation: the name of the best foundation model, which gains are over.
        tasks, search, family, kinship, merge_gains: None where the run has none of it.
        saturation: threshold of the pool's mean kinship, and whether this run stops at it.
        changes: weight changes of the best model's layers; empty if unknown.
        baseline: merging all foundation models at once, if known.
        warnings: about evaluations, one sentence each.
        settings: the text of the resolved config; `environment` is that of the start.
        at: time of the last event in seconds since 1970.
    """

    name: str
    phase: Phase | Literal["recorded"]
    stop: str | None
    strategy: str
    k: int
    metric: Metric
    seed: int
    objective: str
    meaning: str
    base: Foundation
    foundation: tuple[Foundation, ...]
    kinds: Mapping[str, tuple[str, str]]
    outcome: RunOutcome
    work: Work
    models: tuple[ModelRow, ...]
    best_foundation: str | None
    generations: tuple[GenerationRow, ...]
    open_generation: int | None
    stages: Stages
    tasks: Tasks | None
    search: SearchPath | None
    family: Family | None
    kinship: Kinship | None
    merge_gains: MergeGains | None
    saturation: tuple[float, bool]
    changes: tuple[LayerChange, ...]
    gains: Gains | None
    baseline: Baseline | None
    warnings: tuple[str, ...]
    recorded: Recorded | None
    config_id: str
    versions: Mapping[str, str]
    settings: str
    environment: Mapping[str, Any]
    at: float | None


def run_view(
    name: str,
    entries: Sequence[Entry],
    state: RunState,
    *,
    running: bool = False,
    settings: str = "",
    environment: Mapping[str, Any] | None = None,
    changes: Sequence[LayerChange] = (),
    baseline: Baseline | None = None,
) -> RunView:
    """Compute the view of a run that has started.

    Args:
        state: the fold of `entries`, with estimates of the kinship that was not measured.
        running: whether a driver works on it now.
        settings: the text of the resolved config.
    """
    recorded = recorded_in(environment or {})
    start, known = state.start, steps(state)
    over = best_foundation(state)
    return RunView(
        name=name,
        phase="recorded" if recorded else phase_of(state, running=running),
        stop=state.stop,
        strategy=start.strategy,
        k=state.k,
        metric=start.metric,
        seed=start.seed,
        objective=start.objective,
        meaning=meaning(state.objectives["selection"]),
        base=start.base,
        foundation=start.foundation,
        kinds={kind: (each.label, each.colour) for kind, each in merge_kinds(start).items()},
        outcome=outcome_of(state),
        work=work_of(state),
        models=models_of(entries, state),
        best_foundation=over.name if over else None,
        generations=tuple(map(_generation, known)),
        open_generation=state.open_generation.number if state.open_generation else None,
        stages=stages(stage_points(state)),
        tasks=tasks_of(state),
        search=search_of(state),
        family=family_of(state),
        kinship=kinship_of_run(state),
        merge_gains=merge_gains(state, recorded.assumed_parents if recorded else ()),
        saturation=_saturation(settings),
        changes=tuple(changes),
        gains=state.gains,
        baseline=baseline,
        warnings=tuple(warning_summaries(state.models.values())),
        recorded=recorded,
        config_id=start.config_id,
        versions=dict(start.versions),
        settings=settings,
        environment=dict(environment or {}),
        at=state.last_at,
    )


def work_of(state: RunState) -> Work:
    """What a run has done so far."""
    price = state.budget.max_cost
    return Work(
        generations=max(0, len(state.generations) - 1),
        merges=state.merges,
        evaluations=state.evaluations,
        held_out_evaluations=state.held_out_evaluations,
        reused_merges=state.reused_merges,
        reused_evaluations=state.reused_evaluations,
        failures=state.models.failures,
        kept_out=state.models.kept_out,
        skipped=len(state.skipped),
        unscored=len(state.unscored),
        hours=state.seconds / 3600,
        limits=state.budget,
        gpus=state.gpus,
        cost=state.cost(price.price_per_gpu_hour) if price else None,
    )


def meaning(objective: Objective) -> str:
    """What a score is, and which tasks are left out of it."""
    text = MEANINGS[objective.name]
    if not objective.left_out:
        return text
    return f"{text}; left out, since no foundation model scores: {', '.join(objective.left_out)}"


def phase_of(state: RunState, *, running: bool, damaged: bool = False) -> Phase:
    """Whether a run goes on.

    Args:
        running: whether a driver works on it now.
        damaged: whether its journal cannot be read to its end.
    """
    if damaged:
        return "damaged"
    if state.finished:
        return "finished"
    return "running" if running else "stopped"


def _generation(step: Step) -> GenerationRow:
    return GenerationRow(
        step.generation,
        len(step.born),
        step.best.name,
        step.best.score,
        step.pool,
        step.pool_score,
        step.pool_kinship,
        step.pool_kinship_error,
    )


def _saturation(settings: str) -> tuple[float, bool]:
    with contextlib.suppress(yaml.YAMLError, AttributeError, TypeError, ValueError):
        for criterion in yaml.safe_load(settings).get("stopping", ()):
            if isinstance(criterion, dict) and "kinship_saturation" in criterion:
                return float(criterion["kinship_saturation"]["threshold"]), True
    return PAPERS_THRESHOLD, False
