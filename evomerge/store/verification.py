"""Verification of all artefacts and links that a run refers to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evomerge.domain.model import Model
from evomerge.domain.retention import task_vectors
from evomerge.domain.scores import Scores
from evomerge.domain.state import RunState
from evomerge.store.artefacts import PRUNED, TASK_VECTORS, Store, problems
from evomerge.store.run_directory import RunDirectory
from evomerge.store.samples import evaluation_name

Verdict = Literal["whole", "pruned", "damaged", "missing"]


@dataclass(frozen=True)
class Inspection:
    """The verdict on one artefact; `problems` is empty if it is whole or pruned."""

    name: str
    verdict: Verdict
    problems: tuple[str, ...] = ()


def verify(state: RunState, store: Store) -> list[Inspection]:
    """Check every artefact of a run, byte by byte."""
    return [_judge(store, name, whose) for name, whose in artefacts_of(state, store)]


def artefacts_of(state: RunState, store: Store) -> list[tuple[str, str]]:
    """The name of every artefact that a run refers to, and whose it is.

    For each model its weights, then evaluations; then sets of task vectors, where there are any:
    a run that found all their sums in the store made none.
    """
    adapters = {each.name for each in state.start.foundation if each.adapter}
    found = []
    for model in state.models.values():
        if model.merged or model.name in adapters:
            found.append((f"models/{model.content_id}", model.name))
        found += [
            (_evaluation(store, model, scores), model.name)
            for scores in (model.scores, *model.held_out.values())
            if isinstance(scores, Scores)
        ]
    names = {each: f"{TASK_VECTORS}/{each}" for each in task_vectors(state)}
    return [*found, *((name, each) for each, name in names.items() if store.path(name).exists())]


def _evaluation(store: Store, model: Model, scores: Scores) -> str:
    """The stored evaluation; of a model that lost a race, the full one if only that exists."""
    full = evaluation_name(model.content_id, scores.evaluation_id)
    if model.race is None or scores is not model.scores:
        return full
    lost = evaluation_name(model.content_id, model.race.id)
    return full if store.path(full).exists() and not store.path(lost).exists() else lost


def verify_links(run: RunDirectory, state: RunState, store: Store) -> list[Inspection]:
    """Check the links below `models/`; missing ones are recreated when the run is next opened."""
    inspections = []
    for model in state.models.values():
        link = run.models / model.name
        if not model.merged or not os.path.lexists(link):
            continue
        target = os.path.realpath(store.path(f"models/{model.content_id}"))
        right = link.is_symlink() and os.path.realpath(link) == target
        faults = () if right else (f"{link}: does not point to {target}",)
        inspections.append(
            Inspection(f"link {model.name}", "whole" if right else "damaged", faults)
        )
    return inspections


def _judge(store: Store, name: str, whose: str) -> Inspection:
    folder: Path = store.path(name)
    label = f"{whose}: {name}"
    if not folder.exists():
        return Inspection(label, "missing", (f"{folder}: missing",))
    if (folder / PRUNED).is_file():
        return Inspection(label, "pruned")
    found = problems(folder, deep=True)
    return Inspection(label, "damaged" if found else "whole", tuple(found))
