"""One run, and what may be done with it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from evomerge.analysis.budget import budget_use
from evomerge.domain.errors import EvomergeError
from evomerge.ui.site import Site, link


def page(request: Request) -> Response:
    """`/runs/RUN`: its report, with what goes on above it."""
    site: Site = request.app.state.site
    seen = site.run(request)
    if seen.damage is not None or seen.state.started is None:
        return site.page(request, "unread.html", seen=seen)
    return site.page(
        request,
        "run.html",
        seen=seen,
        use=budget_use(seen.state),
        model_page=lambda name: link(seen.name, "model", name=name),
        **site.reports.content(seen),
    )


async def change(request: Request) -> Response:
    """`POST /runs/RUN/control`: stop, resume or extend; then back to its page."""
    site: Site = request.app.state.site
    seen = site.run(request)
    form = await site.access.form_of(request)
    back = link(seen.name)
    if form is None:
        return _refused(site, request, "the form is not of this server", "load its page again")
    try:
        match form.get("do"):
            case "stop":
                site.control.stop(seen)
            case "resume":
                site.control.resume(seen)
            case "extend" if form.get("more", "").isdecimal() and int(form["more"]) > 0:
                site.control.resume(seen, int(form["more"]))
            case _:
                return _refused(site, request, "nothing that can be done", "")
    except EvomergeError as error:
        return _refused(site, request, error.message, error.remedy or "")
    return RedirectResponse(back, 303)


def _refused(site: Site, request: Request, text: str, remedy: str) -> Response:
    back = link(request.path_params["run"])
    return site.message(request, 409, "Not done", text, remedy, back)
