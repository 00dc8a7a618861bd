"""A child module that behaves badly on demand; run by the tests of `evomerge.adapters.child`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from evomerge.domain.errors import CandidateError, DamagedError, PreflightError
from evomerge.ports import Progress


def _echo(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    return {"pid": os.getpid(), "payload": payload}


def _noise(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    print('{"result": {"forged": true}}', flush=True)  # noqa: T201
    os.write(1, b"to the file descriptor\n")
    subprocess.run(["echo", "from a grandchild"], check=True)
    return {"read": sys.stdin.read()}


def _steps(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    for done in range(1, payload["total"] + 1):
        progress(done, payload["total"])
    return {}


def _raise(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    errors = {
        "candidate": CandidateError("bad candidate", "another"),
        "preflight": PreflightError("bad config", "mend it"),
        "damaged": DamagedError("bad file", "again"),
        "other": ValueError("bad value"),
    }
    raise errors[payload["what"]]


def _unserializable(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    return {"value": object()}


def _exit(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    print("these are\n\nmy last words", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(payload["code"])


def _kill_self(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    print("it gets dark", file=sys.stderr, flush=True)  # noqa: T201
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def _hang(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Wait, with a grandchild, without or with the GIL; progress tells the pids."""
    grandchild = subprocess.Popen(["sleep", "600"])
    progress(os.getpid(), 0)
    progress(grandchild.pid, 0)
    if payload.get("hold_gil"):
        re.match(r"(a+)+$", "a" * 60 + "b")
    time.sleep(600)
    return {}


def _leave_traces(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    try:
        progress(1, 1)
        time.sleep(600)
    finally:
        Path(payload["file"]).unlink()
    return {}


def _describe(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    return {"session": os.getsid(0), "pid": os.getpid(), "environment": dict(os.environ)}


OPERATIONS = {
    "echo": _echo,
    "noise": _noise,
    "steps": _steps,
    "raise": _raise,
    "unserializable": _unserializable,
    "exit": _exit,
    "kill_self": _kill_self,
    "hang": _hang,
    "leave_traces": _leave_traces,
    "describe": _describe,
}
