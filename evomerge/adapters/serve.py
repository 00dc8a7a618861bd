"""The child's side of `evomerge.adapters.child`: `python -m ….serve MODULE DEVICE [FD]`.

MODULE has a function `operations(device) -> dict[str, Do]`, by kind. Operations arrive as JSON
lines on stdin (`evomerge.ports.Operation`); every answer is a JSON line on the original stdout:
`{"progress": [done, total]}` any number of times, then `{"result": {..}}` or
`{"error": {"type": .., "message": .., "remedy": ..}}`.
FD is the read end of a pipe whose write end only the parent holds: it is closed when the parent
dies.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, TextIO

from evomerge.adapters.redaction import Redactor, redact_output
from evomerge.domain.errors import CandidateError, EvomergeError, PreflightError, StoppedError
from evomerge.ports import Operation, Progress
from evomerge.store.atomic import STORAGE_FAULTS

Do = Callable[[Operation, Progress], dict[str, Any]]
"""Runs an operation and reports its progress; returns the answer, a JSON object."""

_PROGRESS_INTERVAL = 0.1
_LONGEST_MESSAGE = 1000


class Replies:
    """The answer stream; libraries may report progress from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last_progress = 0.0

    def send(self, **message: Any) -> None:
        """Send one message.

        Raises:
            TypeError, ValueError: it cannot be encoded as JSON; nothing is sent.
        """
        line = json.dumps(message) + "\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

    def progress(self, done: int, total: int) -> None:
        """Send the progress, at a limited rate except for the end."""
        now = time.monotonic()
        if done >= total or now - self._last_progress >= _PROGRESS_INTERVAL:
            self._last_progress = now
            self.send(progress=[done, total])


def answer(
    operations: Mapping[str, Do], request: dict[str, Any], to: Replies, redact: Redactor
) -> None:
    """Run what `request` asks for and send the result, or the exception that it raised."""
    try:
        operation = Operation.model_validate(request)
        to.send(result=operations[operation.kind](operation, to.progress))
    except Exception as error:
        traceback.print_exc()
        described = _described(error)
        to.send(error={key: value and redact(value) for key, value in described.items()})


def _described(error: Exception) -> dict[str, str | None]:
    if (isinstance(error, OSError) and error.errno in STORAGE_FAULTS) or "os error 28" in str(
        error
    ):
        # Not the candidate's fault, and the next one would fail too.
        message = f"the disk is full or failing: {error}"
        return {"type": StoppedError.__name__, "message": message, "remedy": None}
    if isinstance(error, EvomergeError):
        kind = PreflightError if isinstance(error, PreflightError) else CandidateError
        return {"type": kind.__name__, "message": error.message, "remedy": error.remedy}
    message = f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]
    return {"type": CandidateError.__name__, "message": message, "remedy": None}


def _private_pipes() -> tuple[TextIO, TextIO]:
    """Streams for the protocol, separate from the stdin and stdout that libraries use."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _kill_own_group() -> None:
    """Kill this process and, if it leads a process group, the whole group."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process group as soon as the parent's end of `lifeline` closes.

    PR_SET_PDEATHSIG is no alternative: it fires when the *thread* that started this process ends,
    and it spares grandchildren. A watching thread would wait for the GIL, which a long call into C
    may hold.
    """
    if sys.platform != "linux" or os.getpgid(0) != os.getpid():
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def _read(requests: TextIO, into: SimpleQueue[dict[str, Any]]) -> None:
    """Queue requests; their end is the end of the parent, on any system."""
    for line in requests:
        into.put(json.loads(line))
    _kill_own_group()


def _terminated(_signum: int, _frame: object) -> None:
    """Exit through the `finally` clauses, which delete temporary files."""
    raise SystemExit(128 + signal.SIGTERM)


def main() -> None:
    """Serve the operations of the module named on the command line until the parent exits."""
    module, device, *lifeline = sys.argv[1:]
    if lifeline:
        _die_with_parent(int(lifeline[0]))
    signal.signal(signal.SIGTERM, _terminated)
    requests, replies = _private_pipes()
    redact = redact_output()
    # Otherwise libraries that log through the root logger would install their own handler.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    waiting: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, waiting), daemon=True).start()
    operations: Mapping[str, Do] = importlib.import_module(module).operations(device)
    to = Replies(replies)
    while True:
        answer(operations, waiting.get(), to, redact)


if __name__ == "__main__":
    main()
