"""The search over merge coefficients: its path, what it expected, and which weights matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evomerge.domain.state import RunState
from evomerge.strategies.coefficient_search import observations
from evomerge.strategies.steps import foundation_models
from evomerge.views.intervals import half_width

_ENOUGH = 3  # points more than weights, from which on importances are computed
_MOST = 300  # points, beyond which fitting the processes takes minutes


@dataclass(frozen=True)
class SearchPoint:
    """A merge at a point of the space of coefficients.

    Attributes:
        weights: of every foundation model, 0 for those that are left out.
        score: None if it failed.
        error: half of its 95 % interval.
        expected: the score that the surrogate expects here from earlier generations, with
            `expected_error`, half of its 95 % interval; None with fewer than three earlier points.
        record: whether it was the best point so far.
    """

    model: str
    number: int
    generation: int
    kind: str
    weights: Mapping[str, float]
    method: str
    density: float | None
    score: float | None
    error: float | None
    expected: float | None
    expected_error: float | None
    record: bool


@dataclass(frozen=True)
class SearchPath:
    """The search over the weights of the foundation models.

    Attributes:
        foundation: the axes of the space, in order.
        points: in the order of proposals; foundation models themselves are not among them.
        importance: the total Sobol index of each weight (`surrogate.importances`); empty with too
            few points.
    """

    foundation: tuple[str, ...]
    points: tuple[SearchPoint, ...]
    importance: Mapping[str, float]


def search_of(state: RunState) -> SearchPath | None:
    """The search of a run; None if it has fewer than two merges of all foundation models."""
    foundation = foundation_models(state)
    if any(model.scores is None for model in foundation):
        return None
    seen = [*observations(state, foundation)]
    if sum(bool(model.parents) for model, _ in seen) < 2:
        return None
    names = tuple(model.name for model in foundation)
    first = foundation[0]
    tasks = first.scores.tasks if first.scores else ()
    objective = first.objective().over([t.task for t in tasks], [t.weight for t in tasks])
    expected: Mapping[str, tuple[float, float]] = {}
    importance: Mapping[str, float] = {}
    if objective is not None and len(seen) <= _MOST:
        from evomerge.surrogate import Surrogate, hindcast, importances

        surrogate = Surrogate.of([observation for _, observation in seen])
        told = hindcast(surrogate, [model.generation for model, _ in seen], objective)
        expected = {m.name: f for (m, _), f in zip(seen, told, strict=True) if f is not None}
        if len(seen) >= len(names) + _ENOUGH:
            importance = dict(zip(names, importances(surrogate, objective), strict=True))
    found = []
    best = None
    by_name = {model.name: observation for model, observation in seen if model.parents}
    for number, model in enumerate(
        (model for model in state.models.values() if model.name in by_name), start=1
    ):
        point, forecast = by_name[model.name].point, expected.get(model.name)
        worth = model.worth
        record = worth is not None and (best is None or worth > best)
        best = worth if record else best
        found.append(
            SearchPoint(
                model=model.name,
                number=number,
                generation=model.generation,
                kind=model.kind,
                weights=dict(zip(names, point.weights, strict=True)),
                method=point.method,
                density=point.density,
                score=model.score,
                error=half_width(model.stderr),
                expected=forecast and forecast[0],
                expected_error=half_width(forecast[1]) if forecast else None,
                record=record,
            )
        )
    return SearchPath(names, tuple(found), importance)
