"""Runs side by side."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from evomerge.api.comparing import comparison_of, winners
from evomerge.domain.errors import EvomergeError
from evomerge.report.comparison import page as comparison_page
from evomerge.ui.site import Site

_SELF_CONTAINED = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def page(request: Request) -> Response:
    """`/compare?run=A&run=B`."""
    site: Site = request.app.state.site
    names = list(dict.fromkeys(request.query_params.getlist("run")))
    found = [seen for name in names if (seen := site.folder.run(name)) is not None]
    try:
        runs = {seen.name: seen.run for seen in found}
        comparison = comparison_of([*runs.values()])
        text = comparison_page(comparison, winners(comparison, runs))
        return HTMLResponse(text, headers={"content-security-policy": _SELF_CONTAINED})
    except EvomergeError as error:
        return site.page(
            request,
            "message.html",
            status=409,
            title="Not comparable",
            text=error.message,
            remedy=error.remedy or "",
            back="/",
        )
