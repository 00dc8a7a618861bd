"""What every page needs: the runs, the answers, what is allowed, and the templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from evomerge.domain.model import Model
from evomerge.report.figure import scripts
from evomerge.report.page import environment
from evomerge.ui import wording
from evomerge.ui.access import Access
from evomerge.ui.answers import Answers
from evomerge.ui.control import Control
from evomerge.ui.reports import Reports
from evomerge.ui.watching import RunsFolder, Seen

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPTS = {
    "theme.css": "text/css",
    "page.css": "text/css",
    "ui.css": "text/css",
    "page.js": "text/javascript",
    "ui.js": "text/javascript",
    "vega.js": "text/javascript",
}
"""The files that pages load, with their types."""


@dataclass(frozen=True)
class Site:
    """The state of a server.

    Attributes:
        closing: set when the server ends; pages that follow a run are then left.
    """

    folder: RunsFolder
    access: Access
    control: Control = field(default_factory=Control)
    answers: Answers = field(default_factory=Answers)
    reports: Reports = field(default_factory=Reports)
    closing: Event = field(default_factory=Event)

    def run(self, request: Request) -> Seen:
        """The run that the path names.

        Raises:
            HTTPException: there is none (404).
        """
        name = request.path_params["run"]
        seen = self.folder.run(name)
        if seen is None:
            raise HTTPException(404, f"no run named {name!r} in {self.folder.path}")
        return seen

    def model(self, seen: Seen, name: str | None) -> Model:
        """A model of a run.

        Raises:
            HTTPException: there is none (404).
        """
        model = seen.state.models.get(name or "")
        if model is None:
            raise HTTPException(404, f"no model named {name!r} in {seen.name}")
        return model

    def version(self, name: str | None) -> str:
        """A word that changes with everything that is shown of a run, or of all without a name."""
        if name is None:
            return _word(self.folder.version())
        seen = self.folder.run(name)
        return _word(seen and seen.version, seen and self.control.told(seen))

    def page(
        self, request: Request, template: str, /, *, status: int = 200, **context: Any
    ) -> Response:
        """A page; all values of `context` are escaped.

        With `seen`, the page of a run, which it follows.
        """
        seen = context.get("seen")
        if seen is not None:
            context["told"] = self.control.told(seen)
            context["version_now"] = _word(seen.version, context["told"])
        shared = {"folder": self.folder.path, "access": self.access, "here": request.url.path}
        text = _templates().get_template(template).render(shared | context)
        return HTMLResponse(text, status)

    def message(
        self,
        request: Request,
        status: int,
        title: str,
        text: str,
        remedy: str = "",
        back: str = "/",
    ) -> Response:
        """A page that says why there is nothing to show, or that nothing was done."""
        context = {"title": title, "text": text, "remedy": remedy, "back": back}
        return self.page(request, "message.html", status=status, **context)


def _word(*content: object) -> str:
    return sha256(repr(content).encode()).hexdigest()[:16]


@cache
def script(name: str) -> tuple[str, str]:
    """(the content of one of SCRIPTS, its entity tag)."""
    text = scripts() if name == "vega.js" else _templates().get_template(name).render()
    return text, f'"{sha256(text.encode()).hexdigest()[:32]}"'


def link(run: str, page: str = "", /, **query: str | int | None) -> str:
    """The address of a page of a run."""
    wanted = {name: value for name, value in query.items() if value not in {None, ""}}
    path = f"/runs/{quote(run, safe='')}" + (f"/{page}" if page else "")
    return path + (f"?{urlencode(wanted)}" if wanted else "")


@cache
def _templates() -> Environment:
    """Those of this package over those of the report: same globals, filters and escaping."""
    from jinja2 import ChoiceLoader, PackageLoader

    reports = environment()
    loaders = [PackageLoader("evomerge.ui"), *([reports.loader] if reports.loader else [])]
    templates = reports.overlay(loader=ChoiceLoader(loaders), cache_size=100)
    templates.globals = {**reports.globals, "link": link, "stills": False}
    templates.filters = {**reports.filters, **wording.FILTERS}
    return templates
