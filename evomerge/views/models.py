"""The models of a run, one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evomerge.analysis.models import Row, model_rows
from evomerge.domain.events import ModelScored
from evomerge.domain.lineage import ancestors
from evomerge.domain.state import Entry, RunState
from evomerge.views.intervals import half_width


@dataclass(frozen=True)
class ModelRow:
    """A model with all that is known of it; scores and gains in points.

    Attributes:
        place: its number in the order of proposals, from 0.
        evaluation: its number in the order of evaluations, from 1; None before its score.
        rank: 1 for the best; None if it is not scored, or kept out.
        status: scored, kept out, failed, merged or waiting.
        error: half of the 95 % interval of `score`; `held_out_error` and `task_errors` likewise.
        gain: over the best foundation model, on the selection split.
        parents_gain: over the mean of its parents.
        kinship: of its parents by the run's metric, as recorded when they were chosen.
        weights: the weight of each parent, if the strategy chose weights.
        in_line: whether it is the best model or an ancestor of it.
        merged_on, scored_on: hosts of a Ray cluster; None for that of the driver.
        record: whether no model before it in the order of evaluations was as good.
        tasks: score on each task of the selection split; `held_out_tasks` of the held-out split.
        reason: why it was merged, failed, or is kept out.
    """

    name: str
    place: int
    generation: int
    kind: str
    parents: tuple[str, ...]
    status: str
    evaluation: int | None
    rank: int | None
    score: float | None
    error: float | None
    held_out: float | None
    held_out_error: float | None
    final: float | None
    gain: float | None
    parents_gain: float | None
    kinship: float | None
    method: str | None
    weights: Mapping[str, float]
    density: float | None
    perplexity: float | None
    in_pool: bool
    in_line: bool
    record: bool
    merge_seconds: float | None
    evaluation_seconds: float | None
    merged_on: str | None
    scored_on: str | None
    reused: bool | None
    tasks: Mapping[str, float]
    task_errors: Mapping[str, float | None]
    held_out_tasks: Mapping[str, float]
    reason: str | None
    content_id: str


def models_of(entries: Sequence[Entry], state: RunState) -> tuple[ModelRow, ...]:
    """All models in the order in which they were proposed."""
    order = {
        event.model: number
        for number, event in enumerate(
            (e.event for e in entries if isinstance(e.event, ModelScored)), start=1
        )
    }
    best = state.best
    line = set() if best is None else {best.name, *ancestors(best.name, state.models)}
    records = _records(order, state)
    return tuple(
        _row(place, row, state, order.get(row["model"]), line, records)
        for place, row in enumerate(model_rows(entries, state))
    )


def _records(order: Mapping[str, int], state: RunState) -> set[str]:
    """The models that were the best when they were scored."""
    found: set[str] = set()
    top = None
    for name in order:
        worth = state.models[name].worth
        if worth is not None and (top is None or worth > top):
            top = worth
            found.add(name)
    return found


def _row(
    place: int,
    row: Row,
    state: RunState,
    evaluation: int | None,
    line: set[str],
    records: set[str],
) -> ModelRow:
    model = state.models[row["model"]]
    held_out = model.estimate("held_out")
    on, later = model.scores, model.on("held_out")
    return ModelRow(
        name=model.name,
        place=place,
        generation=model.generation,
        kind=model.kind,
        parents=model.parents,
        status=row["status"],
        evaluation=evaluation,
        rank=row["rank"],
        score=model.score,
        error=half_width(model.stderr),
        held_out=held_out and held_out.value,
        held_out_error=half_width(held_out.stderr) if held_out else None,
        final=row["final"],
        gain=row["gain_over_foundation"],
        parents_gain=row["gain"],
        kinship=row["kinship"],
        method=row["method"],
        weights=dict(zip(model.parents, row["weights"] or (), strict=False)),
        density=row["density"],
        perplexity=row["perplexity"],
        in_pool=row["in_pool"],
        in_line=model.name in line,
        record=model.name in records,
        merge_seconds=row["merge_seconds"],
        evaluation_seconds=row["evaluation_seconds"],
        merged_on=row["merged_on"],
        scored_on=row["scored_on"],
        reused=row["reused"],
        tasks={task.task: task.value for task in on.tasks} if on else {},
        task_errors={task.task: half_width(task.stderr) for task in on.tasks} if on else {},
        held_out_tasks={task.task: task.value for task in later.tasks} if later else {},
        reason=row["reason"],
        content_id=model.content_id,
    )
