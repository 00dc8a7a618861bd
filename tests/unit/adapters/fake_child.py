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
from evomerge.ports import Operation, Progress


def _echo(operation: Operation, progress: Progress) -> dict[str, Any]:
    return {"pid": os.getpid(), "arguments": operation.arguments}


def _noise(operation: Operation, progress: Progress) -> dict[str, Any]:
    print('{"result": {"forged": true}}', flush=True)  # noqa: T201
    os.write(1, b"to the file descriptor\n")
    subprocess.run(["echo", "from a grandchild"], check=True)
    return {"read": sys.stdin.read()}


def _steps(operation: Operation, progress: Progress) -> dict[str, Any]:
    for done in range(1, operation.arguments["total"] + 1):
        progress(done, operation.arguments["total"])
    return {}


def _raise(operation: Operation, progress: Progress) -> dict[str, Any]:
    errors = {
        "candidate": CandidateError("bad candidate", "another"),
        "preflight": PreflightError("bad config", "mend it"),
        "damaged": DamagedError("bad file", "again"),
        "other": ValueError("bad value"),
    }
    raise errors[operation.arguments["what"]]


def _unserializable(operation: Operation, progress: Progress) -> dict[str, Any]:
    return {"value": object()}


def _exit(operation: Operation, progress: Progress) -> dict[str, Any]:
    print("these are\n\nmy last words", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(operation.arguments["code"])


def _kill_self(operation: Operation, progress: Progress) -> dict[str, Any]:
    print("it gets dark", file=sys.stderr, flush=True)  # noqa: T201
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def _hang(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Wait, with a grandchild, without or with the GIL; progress tells the pids."""
    grandchild = subprocess.Popen(["sleep", "600"])
    progress(os.getpid(), 0)
    progress(grandchild.pid, 0)
    if operation.arguments.get("hold_gil"):
        re.match(r"(a+)+$", "a" * 60 + "b")
    time.sleep(600)
    return {}


def _leave_traces(operation: Operation, progress: Progress) -> dict[str, Any]:
    try:
        progress(1, 1)
        time.sleep(600)
    finally:
        Path(operation.arguments["file"]).unlink()
    return {}


def _describe(operation: Operation, progress: Progress) -> dict[str, Any]:
    return {
        "session": os.getsid(0),
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "device": DEVICE[0],
    }


KINDS = {
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
DEVICE: list[str] = []


def operations(device: str) -> dict[str, Any]:
    DEVICE.append(device)
    return KINDS
