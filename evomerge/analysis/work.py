"""Time and reuse of a run, by model and in total."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from evomerge.domain.events import (
    HeldOutScored,
    KinshipMeasured,
    ModelMerged,
    ModelScored,
    RunResumed,
)
from evomerge.domain.state import Entry


@dataclass(frozen=True)
class ModelWork:
    """The time of one model in seconds; None for steps that this run did not execute."""

    merge: float | None = None
    merge_reused: bool = False
    score: float | None = None
    score_reused: bool = False


@dataclass(frozen=True)
class Work:
    """The total work of a run.

    Attributes:
        models: by name.
        merge: seconds of merging; `score` of evaluation, `kinship` of kinship measurement,
            `held_out` of held-out evaluation. Workers run in parallel, so the sum may exceed the
            elapsed time.
        merges_reused: merges reused from the store; `scores_reused`: evaluations.
        resumed: how often the run was resumed.
    """

    models: Mapping[str, ModelWork] = field(default_factory=dict)
    merge: float = 0.0
    score: float = 0.0
    kinship: float = 0.0
    held_out: float = 0.0
    merges_reused: int = 0
    scores_reused: int = 0
    resumed: int = 0


def work(entries: Iterable[Entry]) -> Work:
    """The work recorded in a journal."""
    models: dict[str, ModelWork] = {}
    kinship, held_out, resumed = 0.0, 0.0, 0
    for entry in entries:
        event = entry.event
        if isinstance(event, ModelMerged):
            known = models.get(event.model, ModelWork())
            models[event.model] = replace(known, merge=event.seconds, merge_reused=event.reused)
        elif isinstance(event, ModelScored):
            known = models.get(event.model, ModelWork())
            models[event.model] = replace(known, score=event.seconds, score_reused=event.reused)
        elif isinstance(event, KinshipMeasured):
            kinship += 0.0 if event.reused else event.seconds
        elif isinstance(event, HeldOutScored):
            held_out += 0.0 if event.reused else event.seconds
        elif isinstance(event, RunResumed):
            resumed += 1
    every = models.values()
    return Work(
        models=models,
        merge=sum(m.merge or 0.0 for m in every if not m.merge_reused),
        score=sum(m.score or 0.0 for m in every if not m.score_reused),
        kinship=kinship,
        held_out=held_out,
        merges_reused=sum(m.merge_reused for m in every),
        scores_reused=sum(m.score_reused for m in every),
        resumed=resumed,
    )
