"""Who may see the pages and who may change a run: host names, token, forms, headers.

Without a token only this machine can ask, so the danger is another site open in the same browser:
it is refused by the `Host` header (DNS rebinding) and, where something is changed, by a secret in
the form and the `Origin` header (cross-site request forgery).
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LONGEST_FORM = 10_000  # bytes

HEADERS = {
    # Figures are drawn by scripts of ours, from data in the page. Both vega and the SVGs set styles
    # on elements; scripts in a page, and code in texts, never run.
    "content-security-policy": "default-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Sent with every answer."""


@dataclass(frozen=True)
class Access:
    """What is allowed.

    Attributes:
        token: has to be known to see anything; None where only this machine can ask.
        control: whether runs may be stopped, resumed and extended.
        names: host names by which the server may be asked, beside IP addresses, which no other
            site can claim.
        form: the secret in every form.
    """

    token: str | None = None
    control: bool = False
    names: frozenset[str] = frozenset({"localhost"})
    form: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request that is not allowed, or that brings the token; else None."""
        if not self.knows(request.headers.get("host", "")):
            return _said(421, "this server is not known by that name; ask for it by its address")
        if self.token is not None:
            brought = request.query_params.get("token")
            if brought is not None and _equal(brought, self.token):
                return self._let_in(request)
            if not _equal(_shown(request), self.token):
                return _said(401, "open the address that `evomerge ui` printed: it has the token")
        if request.method not in {"GET", "HEAD"}:
            if not self.control:
                return _said(403, "read-only: start with `evomerge ui --allow-control`")
            if not _same_origin(request):
                return _said(403, "the form was sent from another site")
        return None

    def knows(self, host: str) -> bool:
        """Whether the server may be asked by this `Host` header."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name.lower() in self.names
        return True

    async def form_of(self, request: Request) -> Mapping[str, str] | None:
        """The fields of a form; None without our secret in it."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_FORM:
                return None
        fields = {name: values[-1] for name, values in parse_qs(body.decode("latin-1")).items()}
        return fields if _equal(fields.get("form", ""), self.form) else None

    def _let_in(self, request: Request) -> Response:
        """To the same page without the token, which a cookie keeps from here on."""
        rest = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
        target = request.url.path + (f"?{urlencode(rest)}" if rest else "")
        # `//host` would be another site
        answer = RedirectResponse("/" + target.lstrip("/"), 303)
        answer.set_cookie(_cookie(request), self.token or "", httponly=True, samesite="lax")
        return answer


def names_of(host: str) -> frozenset[str]:
    """The host names by which a server bound to `host` may be asked."""
    own = {"localhost", host.lower()}
    if host not in {"localhost", "127.0.0.1", "::1"}:
        own |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(own)


class Gate:
    """Middleware: refuses what `Access` does not allow and adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._access.refusal(Request(scope))
        await (refusal or self._app)(scope, receive, with_headers)


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def _shown(request: Request) -> str:
    """The token in a request's cookie or `Authorization` header."""
    header = request.headers.get("authorization", "")
    return request.cookies.get(_cookie(request)) or header.removeprefix("Bearer ")


def _cookie(request: Request) -> str:
    """Cookies do not tell ports apart, so two servers of one host need two names."""
    return f"evomerge-ui-{request.url.port or 80}"


def _same_origin(request: Request) -> bool:
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    return origin in {None, own} and site in {"same-origin", "none"}


def _said(status: int, text: str) -> Response:
    return PlainTextResponse(f"evomerge ui: {text}\n", status)
