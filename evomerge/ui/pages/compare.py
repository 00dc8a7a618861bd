"""Runs side by side."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from evomerge.api.comparing import comparison_of, winners
from evomerge.domain.errors import EvomergeError
from evomerge.report.comparison import content
from evomerge.ui.reports import Content, drawn
from evomerge.ui.site import Site
from evomerge.ui.watching import Seen


def page(request: Request) -> Response:
    """`/compare?run=A&run=B`."""
    site: Site = request.app.state.site
    names = list(dict.fromkeys(request.query_params.getlist("run")))
    found = [seen for name in names if (seen := site.folder.run(name)) is not None]
    key = ("comparison", *((seen.run.path, seen.length) for seen in found))
    try:
        shown = site.reports.once(key, lambda: _compared(found))
    except EvomergeError as error:
        return site.message(request, 409, "Not comparable", error.message, error.remedy or "")
    return site.page(request, "compare.html", names=[seen.name for seen in found], **shown)


def _compared(found: list[Seen]) -> Content:
    runs = {seen.name: seen.run for seen in found}
    comparison = comparison_of([*runs.values()])
    shown = content(comparison, winners(comparison, runs))
    return {**shown, "figures": [*map(drawn, shown["figures"])]}
