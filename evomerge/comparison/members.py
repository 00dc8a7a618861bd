"""One run of a comparison: its state, and the cost of each of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from evomerge.domain.events import CandidateFailed, Event, KinshipMeasured, ModelMerged, ModelScored
from evomerge.domain.model import Model
from evomerge.domain.objective import ObjectiveName
from evomerge.domain.population import rank
from evomerge.domain.state import Entry, RunState, apply

PieceOfWork = tuple[Literal["merge", "score", "kinship"], str]
"""A piece of work by kind and content id; kinship passes have none and are never shared."""


@dataclass(frozen=True)
class ProgressPoint:
    """The state of a run right after a model was scored.

    Attributes:
        evaluations: as `RunState.evaluations`.
        merges: children finished so far, scored or failed, one merge each.
        spent: elapsed seconds of the drivers, with reuse.
        work: seconds of work so far as if nothing had been reused; None if unknown.
        best: the best model so far by the run's own objective.
    """

    evaluations: int
    merges: int
    spent: float
    work: float | None
    best: Model


@dataclass(frozen=True)
class Member:
    """One run of a comparison.

    Attributes:
        settings: settings that can change a result, by dotted path; empty without a readable
            config.
        course: in the order in which models were scored, at least one.
        reused: merges and evaluations that were reused from the store.
        objective: the objective of the search; the comparison may use a different one.
    """

    name: str
    state: RunState
    settings: Mapping[str, Any] = field(default_factory=dict)
    course: tuple[ProgressPoint, ...] = ()
    reused: int = 0
    objective: ObjectiveName = "mean"

    def judged_in(self, state: RunState) -> Member:
        """A copy of the run with a state of another objective.

        The best models of its course remain those of the run's own objective.
        """
        course = (replace(each, best=state.models[each.best.name]) for each in self.course)
        return replace(self, state=state, course=tuple(course))

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.state.start.seed

    @property
    def best(self) -> Model:
        """The best model of the run, with its held-out scores."""
        return self.state.models[self.course[-1].best.name]

    @property
    def score(self) -> float:
        """The score of the best model, in points."""
        return self.best.score or 0.0

    @property
    def gain(self) -> float | None:
        """Gain of the best model over the best foundation model, in points."""
        foundation = [model for model in self.state.at_generation(0) if model.scores is not None]
        first = min(foundation, key=rank, default=None)
        return None if first is None else self.score - (first.score or 0.0)


def prices(journals: Iterable[Sequence[Entry]]) -> dict[PieceOfWork, float]:
    """The seconds that every artefact took in the run that made it."""
    found: dict[PieceOfWork, float] = {}
    for entries in journals:
        ids = _content_ids(entries)
        for entry in entries:
            event = entry.event
            if isinstance(event, ModelMerged | ModelScored) and not event.reused:
                found[_step(event, ids)] = event.seconds
    return found


def member_of(
    name: str,
    entries: Sequence[Entry],
    settings: Mapping[str, Any],
    known: Mapping[PieceOfWork, float] | None = None,
) -> Member:
    """Build a member from the journal entries of a run.

    Args:
        known: `prices` of all runs of the comparison; by default those of this run only.

    Raises:
        ValueError: the sequence of entries is invalid, or no model is scored yet.
    """
    known = prices([entries]) if known is None else known
    ids = _content_ids(entries)
    state = RunState()
    course: list[ProgressPoint] = []
    merges = reused = 0
    work: float | None = 0.0
    for entry in entries:
        state, event = apply(state, entry), entry.event
        cost = _cost(event, ids, known)
        work = None if work is None or cost is None else work + cost
        merges += isinstance(event, CandidateFailed) or (
            isinstance(event, ModelScored) and bool(state.models[event.model].parents)
        )
        reused += isinstance(event, ModelMerged | ModelScored) and event.reused
        if isinstance(event, ModelScored):
            model = state.models[event.model]
            point = ProgressPoint(state.evaluations, merges, state.seconds, work, model)
            course.append(point)
    if not course:
        raise ValueError(f"no model of {name} is scored yet")
    if not work and not state.seconds:  # recorded results have no times
        course = [replace(point, work=None) for point in course]
    course = [*_best_so_far(course, state)]
    return Member(name, state, settings, tuple(course), reused, state.start.objective)


def _best_so_far(course: Iterable[ProgressPoint], state: RunState) -> Iterator[ProgressPoint]:
    """The moments of the models just scored, by the end of the journal: it knows all shares."""
    best: Model | None = None
    for point in course:
        model = state.models[point.best.name]
        best = model if best is None else min(best, model, key=rank)
        yield replace(point, best=best)


def _content_ids(entries: Iterable[Entry]) -> dict[str, str]:
    """The content id of every model of a journal by its name."""
    ids: dict[str, str] = {}
    for entry in entries:
        event = entry.event
        if event.type == "run_started":
            ids |= {each.name: each.content_id for each in event.foundation}
        elif event.type == "generation_proposed":
            ids |= {each.name: each.recipe.id for each in event.candidates}
    return ids


def _step(event: ModelMerged | ModelScored, ids: Mapping[str, str]) -> PieceOfWork:
    return ("merge" if isinstance(event, ModelMerged) else "score", ids.get(event.model, ""))


def _cost(event: Event, ids: Mapping[str, str], known: Mapping[PieceOfWork, float]) -> float | None:
    """Seconds of work of an event without reuse; None if no run recorded them."""
    if isinstance(event, KinshipMeasured):
        return event.seconds
    if not isinstance(event, ModelMerged | ModelScored):
        return 0.0
    return known.get(_step(event, ids)) if event.reused else event.seconds
