"""What a run did and what it was spared: time and reuse, by model and in all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from evomerge.domain.events import (
    KinshipMeasured,
    ModelConfirmed,
    ModelMerged,
    ModelScored,
    RunResumed,
)
from evomerge.domain.state import Entry


@dataclass(frozen=True)
class ModelWork:
    """What one model took, in seconds; None where that step was not done in this run."""

    merge: float | None = None
    merge_reused: bool = False
    score: float | None = None
    score_reused: bool = False


@dataclass(frozen=True)
class Work:
    """What a run took in all.

    Attributes:
        models: by name.
        merge: seconds of merging; `score` of evaluating, `kinship` of measuring, `confirm` of
            scoring on what the search never saw. Workers may run side by side, so their sum may
            exceed the time that passed.
        merges_reused: merges that were in the store; `scores_reused` evaluations.
        resumed: how often a driver took the run up again.
    """

    models: Mapping[str, ModelWork] = field(default_factory=dict)
    merge: float = 0.0
    score: float = 0.0
    kinship: float = 0.0
    confirm: float = 0.0
    merges_reused: int = 0
    scores_reused: int = 0
    resumed: int = 0


def work(entries: Iterable[Entry]) -> Work:
    """The work that a journal tells of."""
    models: dict[str, ModelWork] = {}
    kinship, confirm, resumed = 0.0, 0.0, 0
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
        elif isinstance(event, ModelConfirmed):
            confirm += 0.0 if event.reused else event.seconds
        elif isinstance(event, RunResumed):
            resumed += 1
    every = models.values()
    return Work(
        models=models,
        merge=sum(m.merge or 0.0 for m in every if not m.merge_reused),
        score=sum(m.score or 0.0 for m in every if not m.score_reused),
        kinship=kinship,
        confirm=confirm,
        merges_reused=sum(m.merge_reused for m in every),
        scores_reused=sum(m.score_reused for m in every),
        resumed=resumed,
    )
