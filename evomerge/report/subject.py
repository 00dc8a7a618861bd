"""What a report is made of: everything that a run's folder and the store know about it."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from evomerge.analysis.curves import Step, steps
from evomerge.analysis.merges import Merge, merges
from evomerge.analysis.stages import Point, Stages, stages
from evomerge.analysis.work import Work, work
from evomerge.domain.baseline import Baseline
from evomerge.domain.lineage import ancestors, merge_gain
from evomerge.domain.state import Entry, RunState, fold
from evomerge.report.layers import LayerChange, layer_changes
from evomerge.store.census import baseline_beside
from evomerge.store.recorded import Recorded, recorded_in
from evomerge.store.run_directory import STORE_FOLDER, RunDirectory

Z95 = 1.959964  # half the width of a 95 % interval, in standard errors of a normal estimate
PAPERS_THRESHOLD = 0.9


@dataclass(frozen=True)
class Subject:
    """A run as its report sees it; figures and tables follow from it alone.

    Attributes:
        config: the resolved config, as it stands in the run's folder.
        environment: versions and hardware at the start.
        baseline: what merging all foundation models at once gave, where that is known.
        changes: how far the best model's layers are from its parents; empty where not known.
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
        """The course of the search by generation."""
        return steps(self.state)

    @cached_property
    def work(self) -> Work:
        """What it took."""
        return work(self.entries)

    @cached_property
    def recorded(self) -> Recorded | None:
        """Where results come from that were not computed by this run."""
        return recorded_in(self.environment)

    @cached_property
    def merges(self) -> tuple[Merge, ...]:
        """The scored merges whose parents are known for certain."""
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
        """Learning and saturation."""
        return stages(stage_points(self.state))

    @property
    def saturation(self) -> tuple[float, bool]:
        """The threshold of the pool's mean kinship, and whether it is a criterion of this run."""
        with contextlib.suppress(yaml.YAMLError, AttributeError, TypeError, ValueError):
            for criterion in yaml.safe_load(self.config).get("stopping", ()):
                if isinstance(criterion, dict) and "kinship_saturation" in criterion:
                    return float(criterion["kinship_saturation"]["threshold"]), True
        return PAPERS_THRESHOLD, False


def stage_points(state: RunState) -> list[Point]:
    """A run as points of the rule of stages: its best child, mean gain and pool by generation."""
    points = []
    for step in steps(state):
        gains = [merge_gain(model, state.models) for model in step.born]
        known = [abs(gain) for gain in gains if gain is not None]
        score = max((model.score for model in step.born if model.score is not None), default=None)
        gain = math.fsum(known) / len(known) if known else None
        points.append(Point(step.generation, score, step.pool_kinship, gain))
    return points


def read_subject(run: RunDirectory) -> Subject:
    """Everything about a run; the journal is all that must be there.

    Raises:
        DamagedError: the journal is damaged.
        ValueError: its events cannot have happened.
    """
    entries = tuple(run.read())
    state = fold(entries)
    config, environment = "", {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        config = run.config.read_text(encoding="utf-8")
    with contextlib.suppress(OSError, ValueError):
        environment = json.loads(run.environment.read_text(encoding="utf-8"))
    passes = run.path.parent / STORE_FOLDER / "kinship" / state.start.base.content_id
    return Subject(
        run.name,
        entries,
        state,
        config,
        environment if isinstance(environment, dict) else {},
        layer_changes(state, passes),
        baseline_beside(run, state),
    )
