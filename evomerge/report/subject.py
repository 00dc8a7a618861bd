"""The data of a report, read from a run's folder and the store."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from evomerge.adapters.estimates import best_pairs, with_estimates
from evomerge.analysis.curves import Step, steps
from evomerge.analysis.merges import Merge, merges
from evomerge.analysis.series import Series
from evomerge.analysis.stages import Point, Stages, stages
from evomerge.domain.baseline import Baseline
from evomerge.domain.lineage import ancestors, merge_gain
from evomerge.domain.state import Entry, RunState, fold
from evomerge.report.layers import LayerChange, layer_changes
from evomerge.store.gc_roots import baseline_beside
from evomerge.store.recorded import Recorded, recorded_in
from evomerge.store.run_directory import RunDirectory

Z95 = 1.959964  # half the width of a 95 % interval, in standard errors of a normal estimate
PAPERS_THRESHOLD = 0.9


@dataclass(frozen=True)
class Subject:
    """All data of a run's report.

    Attributes:
        state: with estimates of the kinship that was not measured.
        config: the text of the resolved config in the run's folder.
        environment: versions and hardware at the start.
        baseline: the result of merging all foundation models at once, if known.
        changes: weight changes of the best model's layers against its parents; empty if unknown.
    """

    name: str
    entries: tuple[Entry, ...]
    state: RunState
    config: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[LayerChange, ...] = ()
    baseline: Baseline | None = None

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The progress of the search by generation."""
        return steps(self.state)

    @cached_property
    def recorded(self) -> Recorded | None:
        """The source of results that were not computed by this run, else None."""
        return recorded_in(self.environment)

    @cached_property
    def merges(self) -> tuple[Merge, ...]:
        """The scored merges, without those of uncertain parents."""
        return merges(self.state, self.recorded.assumed_parents if self.recorded else ())

    @cached_property
    def line(self) -> frozenset[str]:
        """The best model and all of its ancestors."""
        best = self.state.best
        if best is None:
            return frozenset()
        return frozenset({best.name, *ancestors(best.name, self.state.models)})

    @cached_property
    def stages(self) -> Stages:
        """The learning and saturation stages."""
        return stages(stage_points(self.state))

    @cached_property
    def series(self) -> Series:
        """The scored merges as a table."""
        rows = tuple(
            {"gain": merge.gain, **{m.value: value for m, value in merge.kinship.items()}}
            for merge in self.merges
        )
        return Series(self.name, rows, tuple(stage_points(self.state)))

    @property
    def saturation(self) -> tuple[float, bool]:
        """The threshold of the pool's mean kinship, and whether this run stops at it."""
        with contextlib.suppress(yaml.YAMLError, AttributeError, TypeError, ValueError):
            for criterion in yaml.safe_load(self.config).get("stopping", ()):
                if isinstance(criterion, dict) and "kinship_saturation" in criterion:
                    return float(criterion["kinship_saturation"]["threshold"]), True
        return PAPERS_THRESHOLD, False


def stage_points(state: RunState) -> list[Point]:
    """Input of the stage rule by generation: best child, mean gain and pool kinship."""
    points = []
    for step in steps(state):
        gains = [merge_gain(model, state.models) for model in step.born]
        known = [abs(gain) for gain in gains if gain is not None]
        scores = [model.score for model in step.born if model.selectable]
        score = max((score for score in scores if score is not None), default=None)
        gain = math.fsum(known) / len(known) if known else None
        points.append(Point(step.generation, score, step.pool_kinship, gain))
    return points


def read_subject(run: RunDirectory) -> Subject:
    """Read the data of a run; only the journal is required.

    Raises:
        DamagedError: the journal is damaged.
        ValueError: the sequence of its events is invalid.
    """
    entries = tuple(run.read())
    state = fold(entries)
    config, environment = "", {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        config = run.config.read_text(encoding="utf-8")
    with contextlib.suppress(OSError, ValueError):
        environment = json.loads(run.environment.read_text(encoding="utf-8"))
    passes = run.store / "kinship" / state.start.base.content_id
    return Subject(
        run.name,
        entries,
        with_estimates(run, state, best_pairs(state)),
        config,
        environment if isinstance(environment, dict) else {},
        layer_changes(state, passes),
        baseline_beside(run, state),
    )
