"""The merges of a run as rows: kinship of the parents and merge gain."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evomerge.analysis.curves import stage_points
from evomerge.analysis.series import Series
from evomerge.domain.kinship import KinshipReading, Metric, all_pairs
from evomerge.domain.lineage import merge_gain
from evomerge.domain.model import Model
from evomerge.domain.state import RunState


@dataclass(frozen=True)
class Merge:
    """A scored merge.

    Attributes:
        kinship: of the parents, by metric (the mean over pairs for more than two parents);
            metrics with unknown or undefined values are left out.
        gain: score of the child minus the mean score of its parents, in points.
    """

    model: str
    generation: int
    kind: str
    parents: tuple[str, ...]
    kinship: Mapping[Metric, float]
    gain: float


def merges(state: RunState, leave_out: Collection[str] = ()) -> tuple[Merge, ...]:
    """The scored merges of a run in order, without the models named in `leave_out`."""
    found = []
    for model in state.models.values():
        gain = merge_gain(model, state.models)
        if gain is not None and model.name not in leave_out:
            kinship = parents_kinship(model, state)
            found.append(
                Merge(model.name, model.generation, model.kind, model.parents, kinship, gain)
            )
    return tuple(found)


def series_of_run(name: str, state: RunState, leave_out: Collection[str] = ()) -> Series:
    """The scored merges of a run as a table."""
    rows = tuple(
        {"gain": merge.gain, **{m.value: value for m, value in merge.kinship.items()}}
        for merge in merges(state, leave_out)
    )
    return Series(name, rows, tuple(stage_points(state)))


def parents_kinship(model: Model, state: RunState) -> dict[Metric, float]:
    """The kinship of a model's parents by metric: as measured, else as recorded when chosen."""
    readings = [state.readings.get(each) for each in all_pairs(model.parents)]
    values = {metric: _mean(readings, metric) for metric in Metric}
    if values[state.start.metric] is None and model.candidate is not None:
        values[state.start.metric] = model.candidate.proposal.kinship
    return {metric: value for metric, value in values.items() if value is not None}


def _mean(readings: Sequence[KinshipReading | None], metric: Metric) -> float | None:
    values = [None if reading is None else reading.value(metric) for reading in readings]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None
