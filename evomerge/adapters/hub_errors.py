"""What errors of huggingface_hub mean: trouble that passes, or a refusal, each in one line.

Their own texts may contain headers, so they are never shown. Network errors are those of httpx,
which huggingface_hub lets through (httpx2 in its newer versions), so they are told by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from evomerge.domain.errors import PreflightError

CONNECT = 5.0
"""Seconds that a connection may take to be made."""

IS_OFFLINE = "is not asked, since HF_HUB_OFFLINE is set"

_PASSING = {408, 429, 500, 502, 503, 504}


class DamagedFileError(Exception):
    """What arrived is not what the hub has."""


class Trouble(NamedTuple):
    """Something that may be over when the hub is asked again.

    Attributes:
        text: what the hub does, to follow "the hub".
        after: seconds after which the hub wants to be asked again.
        refused: no connection came about, so there may be no network at all.
        damaged: a file arrived, with other bytes than the hub says.
    """

    text: str
    after: float | None = None
    refused: bool = False
    damaged: bool = False


_TROUBLES = {  # what says most first
    "OfflineModeIsEnabled": Trouble(IS_OFFLINE, refused=True),
    "ConnectError": Trouble("cannot be reached", refused=True),
    "ConnectTimeout": Trouble("cannot be reached", refused=True),
    "ProxyError": Trouble("cannot be reached through the proxy", refused=True),
    "TimeoutException": Trouble("does not answer"),
    "TransportError": Trouble("broke the connection off"),
    "ConnectionError": Trouble("broke the connection off"),
}


def bound_waiting(read: float | None = None) -> None:
    """Let no request of huggingface_hub wait for ever in this process; it has no limit itself.

    Args:
        read: seconds without a byte; HF_HUB_DOWNLOAD_TIMEOUT (10 by default) if None.
    """
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils import _http

    longest = float(read or constants.HF_HUB_DOWNLOAD_TIMEOUT)
    limits = {"connect": CONNECT, "read": longest, "write": longest, "pool": longest}

    def bound(request: Any) -> None:
        given = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            name: min(limit, given.get(name) or limit) for name, limit in limits.items()
        }

    def client() -> Any:
        made = _http.default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = {**hooks, "request": [*hooks["request"], bound]}
        return made

    set_client_factory(client)


def ask() -> None:
    """Make one small request of the hub, without a token; whatever goes wrong is raised."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import hf_raise_for_status

    hf_raise_for_status(get_session().get(f"{constants.ENDPOINT}/api/models?limit=1"))


def trouble(error: BaseException) -> Trouble | None:
    """What is wrong with the hub or the network; None for anything else."""
    for each in _chain(error):
        if isinstance(each, DamagedFileError):
            return Trouble("sent a damaged file", damaged=True)
        status = _status(each)
        if status in _PASSING:
            after = getattr(each, "response").headers.get("Retry-After", "")  # noqa: B009
            text = f"answers {status} ({HTTPStatus(status).phrase})"
            return Trouble(text, float(after) if after.isdigit() else None)
    names = {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}
    return next((met for known, met in _TROUBLES.items() if known in names), None)


def refusal(
    repo: str, revision: str | None, error: BaseException, what: str = "model"
) -> PreflightError:
    """The error that says why the hub does not give what was asked for.

    Args:
        what: `model` or `data set`.
    """
    if known := known_refusal(repo, revision, error, what):
        return known
    status = next(filter(None, map(_status, _chain(error))), None)
    said = type(error).__name__ if status is None else f"it answers {status}"
    remedy = f"`hf download {repo}` may say why" if repo else "see whether HF_ENDPOINT is a hub"
    return PreflightError(f"the hub cannot be used: {said}", remedy)


def known_refusal(
    repo: str, revision: str | None, error: BaseException, what: str
) -> PreflightError | None:
    """As `refusal`; None for an error that is not the hub's."""
    from huggingface_hub import errors

    place = repo if what == "model" else f"datasets/{repo}"
    here = f"it is neither a folder here nor a {what} on the hub"
    known: tuple[tuple[type[Exception], str, str], ...] = (  # subclasses first
        (
            errors.HFValidationError,
            "it is neither a folder here nor a hub id (org/name[@revision])",
            "check the spelling; begin a path with ./ or /",
        ),
        (
            errors.GatedRepoError,
            f"the licence of this {what} has to be accepted on the hub first",
            f"accept it at https://huggingface.co/{place} and set HF_TOKEN",
        ),
        (
            errors.DisabledRepoError,
            f"the hub has taken this {what} down",
            "name another one, or a folder with a copy of it",
        ),
        (
            errors.RevisionNotFoundError,
            f"the hub has no revision {revision} of it",
            "name a branch or a commit",
        ),
        (
            errors.RepositoryNotFoundError,
            here,
            "check the spelling; for a private one, set HF_TOKEN",
        ),
        (
            errors.RemoteEntryNotFoundError,
            "the hub lacks one of its files",
            "name another revision of it",
        ),
        (
            errors.SafetensorsParsingError,
            "one of its safetensors files has no valid header",
            "name another revision of it",
        ),
    )
    for each in _chain(error):
        for kind, message, remedy in known:
            if isinstance(each, kind):
                return PreflightError(message, remedy)
        if _status(each) == HTTPStatus.UNAUTHORIZED:
            return PreflightError(
                "the hub does not accept the token: it is wrong or has expired",
                "set HF_TOKEN to a new one (https://huggingface.co/settings/tokens), or log in "
                "with `hf auth login`",
            )
        if _status(each) == HTTPStatus.FORBIDDEN:
            return PreflightError(
                "the hub does not allow it with this token",
                "set HF_TOKEN to one that may (https://huggingface.co/settings/tokens)",
            )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    found = getattr(response, "status_code", None)
    return found if isinstance(found, int) else None
