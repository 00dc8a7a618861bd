"""Serve a folder of runs: address, token, and the server itself."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from evomerge.domain.errors import PreflightError, UsageError
from evomerge.store.run_directory import RunDirectory
from evomerge.ui.access import Access, names_of
from evomerge.ui.app import application
from evomerge.ui.control import TOKEN
from evomerge.ui.site import Site
from evomerge.ui.watching import RunsFolder


def serve(
    runs: Path, host: str, port: int, *, control: bool, tell: Callable[[str], object]
) -> None:
    """Serve the pages until Ctrl-C.

    Args:
        port: 0 for any that is free.
        control: let visitors stop, resume and extend runs.
        tell: is told the address, with the token if one is needed.

    Raises:
        UsageError: `runs` is no folder of runs.
        PreflightError: the address cannot be used.
    """
    checked(runs)
    listening = _bound(host, port)
    token = token_for(host, control=control)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    site = Site(RunsFolder(runs.resolve()), Access(token, control, names_of(host)))
    server = Server(site, lambda: tell(address if token is None else f"{address}?token={token}"))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


class Server(uvicorn.Server):
    """A server of a site; `ready` is called when it answers."""

    def __init__(self, site: Site, ready: Callable[[], object] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                application(site),
                log_level="warning",
                access_log=False,  # the token would be in it
                server_header=False,
            )
        )
        self._site = site
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of the pages that follow a run, then end."""
        self._site.closing.set()
        await super().shutdown(sockets)


def checked(runs: Path) -> None:
    """Check that `runs` is a folder of runs.

    Raises:
        UsageError: there is none, or it is the folder of one run.
    """
    if not runs.is_dir():
        raise UsageError(
            f"no runs folder {runs}", "name one: `evomerge ui RUNS`, or start a run first"
        )
    if RunDirectory(runs).exists:
        raise UsageError(
            f"{runs} is one run, not a folder of runs", f"evomerge ui {runs.resolve().parent}"
        )


def token_for(host: str, *, control: bool) -> str | None:
    """The token that visitors need: that of the environment, else a new one.

    None where only this machine can ask and nothing can be changed.
    """
    given = os.environ.get(TOKEN)
    if given:
        return given
    return secrets.token_urlsafe(24) if control or not _is_loopback(host) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise PreflightError(
                f"port {port} of {host} is taken", "another one: --port 0 finds a free one"
            ) from None
        raise PreflightError(f"{host}:{port} cannot be used: {error}", "see --host") from None
    return listening
