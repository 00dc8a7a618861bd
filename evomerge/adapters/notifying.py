"""Tells a webhook or a command of a run, in a thread of its own (`adapters.relay`).

A message that does not arrive is sent again, at most five times, while the run goes on. Secrets
(the URL, the token) come from the environment; no warning and no message shows them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from typing import Any, Self

from evomerge.adapters.redaction import Redactor
from evomerge.adapters.relay import PATIENCE, Relay
from evomerge.config.notifying import NotifyConfig
from evomerge.domain.errors import LockedError, UsageError
from evomerge.domain.events import Event
from evomerge.domain.state import RunState

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt."""
HTTP_SECONDS = 10.0
COMMAND_SECONDS = 60.0
_AGAIN = {408, 425, 429}
_HIDDEN = "***"

Send = Callable[[bytes], None]
"""Delivers a message; raises `UndeliveredError`."""
Notice = Mapping[str, Any]


class UndeliveredError(Exception):
    """A message did not arrive; `final` if it is in vain to send it again."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


class Notifier:
    """An `Observer` that tells of a run, and a context manager for the lifetime of the driver.

    Args:
        run: its name.
        senders: by the name that a warning calls them.
        occasions: the events that are told.
        notice_of: the notice of an event, if it is told.
        stopped: the notice of a stop, by the last state and the reason.
        redact: hides secrets.
        warn: called once for each sender that a message did not reach.
    """

    def __init__(
        self,
        senders: Mapping[str, Send],
        occasions: Collection[str],
        notice_of: Callable[[Event, RunState], Notice | None],
        stopped: Callable[[RunState | None, str], Notice],
        redact: Callable[[str], str],
        warn: Callable[[str], None],
        pauses: Sequence[float] = PAUSES,
        patience: float = PATIENCE,
    ) -> None:
        self._occasions = occasions
        self._notice_of = notice_of
        self._stopped = stopped
        self._redact = redact
        self._warn = warn
        self._pauses = pauses
        self._state: RunState | None = None
        self._relays = [self._relay(name, send, patience) for name, send in senders.items()]

    def _relay(self, name: str, send: Send, patience: float) -> Relay[bytes]:
        def failed(error: BaseException) -> None:
            self._warn(f"{name} is off, the run goes on: {type(error).__name__}")

        late = f"{name} did not take all messages in {patience:.0f} s"
        relay: Relay[bytes] = Relay(name, failed, partial(self._warn, late), patience)
        relay.begin(partial(self._deliver_all, name, send))
        return relay

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Another driver has the run, or nothing was to be done: that is no stop.
        if error is not None and not isinstance(error, LockedError | UsageError):
            self._tell(self._stopped(self._state, str(error) or type(error).__name__))
        for relay in self._relays:
            relay.close()

    def on_event(self, event: Event, state: RunState) -> None:
        """Tell of the event, if it is one to tell of."""
        self._state = state
        if (notice := self._notice_of(event, state)) is not None:
            self._tell(notice)

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Do nothing: only results are told."""

    def _tell(self, notice: Notice) -> None:
        if notice["event"] not in self._occasions:
            return
        body = self._redact(json.dumps({**notice, "at": time.time()}, ensure_ascii=False))
        for relay in self._relays:
            relay.put(body.encode())

    def _deliver_all(self, name: str, send: Send, bodies: Iterator[bytes]) -> None:
        said = False
        for body in bodies:
            why = self._deliver(send, body)
            if why is not None and not said:
                said = True
                self._warn(f"{name} was not told, the run goes on: {self._redact(why)[:200]}")

    def _deliver(self, send: Send, body: bytes) -> str | None:
        """Send until it arrives or that is in vain; the reason in the latter case."""
        why = ""
        for pause in (0.0, *self._pauses):
            time.sleep(pause)
            try:
                send(body)
            except UndeliveredError as error:
                why = str(error)
                if error.final:
                    break
            else:
                return None
        return why


def senders_of(
    config: NotifyConfig, environment: Mapping[str, str], warn: Callable[[str], None]
) -> dict[str, Send]:
    """The senders of a config, by the key of the config; warns of an absent or invalid variable."""
    found: dict[str, Send] = {}
    if config.webhook is not None:
        url = environment.get(config.webhook, "")
        token = environment.get(config.token, "") if config.token else ""
        if not url.startswith(("http://", "https://")):
            what = "is no http(s) URL" if url else "is not set"
            warn(
                f"notify.webhook: the environment variable {config.webhook} {what}; nobody is told"
            )
        else:
            found["notify.webhook"] = partial(post, url, token)
        if config.token and not token:
            warn(f"notify.token: the environment variable {config.token} is not set; none is sent")
    if config.command:
        found["notify.command"] = partial(run_command, config.command)
    return found


def redactor_of(config: NotifyConfig, environment: Mapping[str, str]) -> Callable[[str], str]:
    """Hides the URL and the token of a config, and other secrets of the environment."""
    redact = Redactor(environment)
    names = (config.webhook, config.token)
    own = [value for name in names if name and (value := environment.get(name))]

    def hidden(text: str) -> str:
        for secret in own:
            text = text.replace(secret, _HIDDEN)
        return redact(text)

    return hidden


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirects, which would pass the token on to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(url: str, token: str, body: bytes, seconds: float = HTTP_SECONDS) -> None:
    """Post a JSON body.

    Raises:
        UndeliveredError: there is no answer in time, or it is no success; it names no URL.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "evomerge"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - http(s)
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds):
            pass
    except urllib.error.HTTPError as error:
        code = error.code
        error.close()
        final = 300 <= code < 500 and code not in _AGAIN
        raise UndeliveredError(f"the server answered {code}", final=final) from None
    except urllib.error.URLError as error:
        raise UndeliveredError(f"no connection: {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise UndeliveredError(f"no answer: {type(error).__name__}") from None
    except ValueError:  # quotes the URL
        raise UndeliveredError("the URL is invalid", final=True) from None


def run_command(command: Sequence[str], body: bytes, seconds: float = COMMAND_SECONDS) -> None:
    """Run a program with `body` on stdin, in a process group of its own.

    Raises:
        UndeliveredError: it cannot start, fails or takes too long, and is killed then.
    """
    try:
        process = _started(command)
    except OSError as error:
        why = f"{command[0]} does not start: {error.strerror}"
        raise UndeliveredError(why, final=True) from None
    with process:
        try:
            _, said = process.communicate(body, timeout=seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise UndeliveredError(f"it took more than {seconds:.0f} s") from None
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        why = f": {lines[-1]}" if lines else ""
        raise UndeliveredError(f"exit code {process.returncode}{why}")


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
