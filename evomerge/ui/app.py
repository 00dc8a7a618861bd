"""The application: its addresses, and what is said when something goes wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from evomerge.ui.access import HEADERS, Gate
from evomerge.ui.pages import compare, kinship, model, run, runs, samples
from evomerge.ui.site import SCRIPTS, Site, script

_EVERY = 0.5
"""Seconds between two looks at the runs that a page shows."""
_ALIVE = 30
"""Looks without news after which a sign of life is sent, so that proxies keep the connection."""


def application(site: Site) -> Starlette:
    """The web application over a folder of runs."""
    app = Starlette(
        routes=[
            Route("/", runs.page),
            Route("/compare", compare.page),
            Route("/events", events),
            Route("/static/{name}", _static),
            Route("/runs/{run}", run.page),
            Route("/runs/{run}/control", run.change, methods=["POST"]),
            Route("/runs/{run}/model", model.page),
            Route("/runs/{run}/file", model.download),
            Route("/runs/{run}/samples", samples.page),
            Route("/runs/{run}/kinship", kinship.page),
        ],
        middleware=[Middleware(Gate, access=site.access)],
        exception_handlers={HTTPException: _not_there, Exception: _failed},
    )
    app.state.site = site
    return app


async def events(request: Request) -> Response:
    """Server-sent events: the version of a run, or of all, whenever it changes."""
    site: Site = request.app.state.site
    name = request.query_params.get("run")

    async def stream() -> AsyncIterator[str]:
        last, quiet = None, 0
        while not (site.closing.is_set() or await request.is_disconnected()):
            version = await run_in_threadpool(site.version, name)
            if version != last or quiet >= _ALIVE:
                yield f"data: {version}\n\n" if version != last else ": nothing new\n\n"
                last, quiet = version, 0
            quiet += 1
            await asyncio.sleep(_EVERY)

    return StreamingResponse(stream(), media_type="text/event-stream")


def _static(request: Request) -> Response:
    """A file that pages load; a browser that has it already is told so."""
    name = request.path_params["name"]
    if name not in SCRIPTS:
        raise HTTPException(404, f"no file {name!r}")
    content, tag = script(name)
    headers = {"etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=SCRIPTS[name], headers=headers)


def _not_there(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = error.detail if isinstance(error, HTTPException) else str(error)
    title = "Not there" if status == 404 else f"Error {status}"
    return _message(request, status, title, text)


def _failed(request: Request, error: Exception) -> Response:
    logging.getLogger(__name__).error("%s", request.url.path, exc_info=error)
    answer = _message(request, 500, "An error", f"{type(error).__name__}: {error}")
    answer.headers.update(HEADERS)  # it does not pass through the gate
    return answer


def _message(request: Request, status: int, title: str, text: str) -> Response:
    site: Site = request.app.state.site
    return site.message(request, status, title, text)
