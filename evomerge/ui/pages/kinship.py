"""The kinship of a run's models as a matrix."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from evomerge.adapters.estimates import with_estimates
from evomerge.domain.kinship import Metric, all_pairs
from evomerge.terminal import figures
from evomerge.ui.site import Site
from evomerge.views.kinship import SHOWN, kinship_view


@dataclass(frozen=True)
class Cell:
    """A cell: `near` is its shade from 0 to 1; `error` is that of an estimate, else None."""

    a: str
    b: str
    value: float | None
    error: float | None
    near: float


def page(request: Request) -> Response:
    """`/runs/RUN/kinship?metric=`."""
    site: Site = request.app.state.site
    seen = site.run(request)
    state = seen.state
    if state.started is None:
        return site.page(request, "kinship_matrix.html", seen=seen, names=[], rows=[], metric=None)
    asked = request.query_params.get("metric")
    metric = Metric(asked) if asked and asked in {*Metric} else state.start.metric
    ranked = [model.name for model in state.ranking]
    foundation = [model.name for model in state.at_generation(0) if model.scores]
    chosen = [*foundation, *(name for name in ranked if name not in foundation)][:SHOWN]
    known = site.reports.once(
        ("kinship", seen.run.path, seen.length, metric),
        lambda: with_estimates(seen.run, state, all_pairs(chosen)).kinship_by(metric),
    )
    names = kinship_view(chosen, known).order if len(chosen) > 1 else tuple(chosen)
    closest = [known.closeness(a, b) for a, b in all_pairs(names)]
    defined = [value for value in closest if value is not None]
    low, high = min(defined, default=0.0), max(defined, default=1.0)

    def cell(a: str, b: str) -> Cell:
        near = known.closeness(a, b)
        share = 0.0 if near is None else (near - low) / ((high - low) or 1.0)
        return Cell(a, b, known.between(a, b), known.error(a, b), share)

    return site.page(
        request,
        "kinship_matrix.html",
        seen=seen,
        names=names,
        left_out=len(ranked) - len(names),
        rows=[(a, [cell(a, b) if a != b else None for b in names]) for a in names],
        metric=metric,
        metrics=[*Metric],
        number=lambda cell: figures.kinship(cell.value, metric),
    )
