"""A worker in a long-lived child process, so that crashes do not affect the run.

The child runs `evomerge.adapters.serve`, which documents the protocol. It is started on the first
operation and then reused, so that heavy imports are paid once.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import evomerge
from evomerge.adapters.redaction import Redactor
from evomerge.domain.errors import CandidateError, EvomergeError, PreflightError, StoppedError
from evomerge.ports import Operation, Progress
from evomerge.store.lock import start_time

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads slow a busy machine down tenfold
    "PYTHONFAULTHANDLER": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "warning",
}
"""Environment variables of every child; they override inherited ones."""

_GRACE = 3.0
_POLL = 0.5
_TAIL_LINES = 5
_TAIL_BYTES = 8192
_LONGEST_TAIL = 800


class _DeathError(Exception):
    """The child has closed its end of the protocol."""


class _LateError(Exception):
    """No answer within the time limit."""


class Child:
    """Implements `Worker` over one child process; `run` must be called from one thread at a time.

    Args:
        module: the module with the operations; imported in the child only.
        kinds: the kinds of its operations.
        log: file to which stderr and the output of libraries are appended.
        environment: variables of the child, which override `ENVIRONMENT` and inherited ones.
        name: name of the worker in messages.
        device: device to work on, for modules that use one.
    """

    def __init__(
        self,
        module: str,
        kinds: Iterable[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        name: str = "",
        device: str = "cpu",
    ) -> None:
        self.name = name or module.rpartition(".")[2]
        self.kinds = frozenset(kinds)
        self.host = ""
        self.device = device
        self._module = module
        self._log = log
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self._process: _Process | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process if there is none; imports run while the caller does other work.

        Raises:
            CandidateError: the process cannot be started.
        """
        self._running()

    def run(self, operation: Operation, progress: Progress | None = None) -> dict[str, Any]:
        """The answer to `operation`.

        The process is stopped if the operation does not end regularly (timeout, an exception in
        `progress` or a signal handler); the next operation starts a new one.

        Raises:
            PreflightError, CandidateError: the operation raised it.
            StoppedError: the disk is full or failing.
            CandidateError: another exception, a timeout, or the death of the process, with the last
                lines of its log.
        """
        process = self._running()
        try:
            answer = process.ask(operation, progress)
        except _DeathError:
            self._drop(process)
            raise CandidateError(self._death_message(process, operation.kind)) from None
        except _LateError:
            self._drop(process)
            process.kill()
            raise CandidateError(
                f"{self.name} did not answer {operation.kind!r} within {operation.seconds:g} s "
                "and was ended"
            ) from None
        except BaseException:
            self._drop(process)
            process.kill()
            raise
        if "error" in answer:
            raise raised(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """Stop the process and all that it started; may be called from any thread.

        A running operation raises CandidateError at once; a later one starts a new process.
        """
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.closed = True
            process.terminate()

    def _running(self) -> _Process:
        with self._lock:
            if self._process is not None and self._process.alive:
                return self._process
            if self._process is not None:
                self._process.kill()
            try:
                words = [self._module, self.device]
                self._process = _Process(words, self._log, self._environment)
            except OSError as error:
                raise CandidateError(f"{self.name} cannot be started: {error}") from error
            return self._process

    def _drop(self, process: _Process) -> None:
        with self._lock:
            if self._process is process:
                self._process = None

    def _death_message(self, process: _Process, kind: str) -> str:
        code = process.exit_code()
        if process.closed:
            return f"{self.name} was closed during {kind!r}"
        tail = process.last_lines()
        said = f"; its last lines: {tail}" if tail else ""
        return f"{self.name} {_exit_reason(code)} during {kind!r}{said}"


class _Process:
    """The parent's handles of one started process."""

    def __init__(self, words: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.closed = False
        self._buffer = bytearray()
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        held, self._lifeline = os.pipe()
        try:
            with _appending(log) as stderr:
                self._log_start = stderr.tell()
                self._popen = subprocess.Popen(
                    # -P: a file in the working directory must not shadow a library.
                    [sys.executable, "-P", "-m", "evomerge.adapters.serve", *words, str(held)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env={**os.environ, "PYTHONPATH": _import_path(), **environment},
                    pass_fds=(held,),
                    # A Ctrl-C in the terminal reaches only the parent, which decides.
                    start_new_session=True,
                )
        except OSError:
            os.close(self._lifeline)
            raise
        finally:
            os.close(held)
        self._asking = threading.RLock()
        self._ending = threading.Lock()
        self._ended = False

    @property
    def alive(self) -> bool:
        if self._ended or self._popen.poll() is not None:
            return False
        # A killed process with threads is a zombie for a moment before it can be waited for.
        return sys.platform != "linux" or start_time(self._popen.pid) is not None

    def ask(self, operation: Operation, progress: Progress | None) -> dict[str, Any]:
        """The final message of the exchange; raises _DeathError or _LateError."""
        limit = operation.seconds
        deadline = None if limit is None else time.monotonic() + limit
        with self._asking:
            self._send(json.dumps(operation.model_dump(mode="json")).encode() + b"\n")
            while True:
                message = self._receive(deadline)
                if "progress" not in message:
                    return message
                if progress is not None:
                    progress(*message["progress"])

    def _send(self, line: bytes) -> None:
        requests = cast("IO[bytes]", self._popen.stdin)
        try:
            requests.write(line)
            requests.flush()
        except (OSError, ValueError):  # ValueError: already closed
            raise _DeathError from None

    def _receive(self, deadline: float | None) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._buffer += self._read(deadline)
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        message: dict[str, Any] = json.loads(line)
        return message

    def _read(self, deadline: float | None) -> bytes:
        """The next bytes of the replies; waits until `deadline` (of the monotonic clock)."""
        replies = cast("IO[bytes]", self._popen.stdout)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(replies, selectors.EVENT_READ)
                # Polls, since a signal that arrives just before a wait does not interrupt it.
                while not selector.select(_POLL if left is None else min(left, _POLL)):
                    if deadline is not None and time.monotonic() >= deadline:
                        raise _LateError
            chunk = os.read(replies.fileno(), 1 << 16)
        except (OSError, ValueError):
            raise _DeathError from None
        if not chunk:
            raise _DeathError
        return chunk

    def terminate(self) -> None:
        """Ask the process to exit, then kill what is left of its process group."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.terminate()
        self.exit_code()

    def kill(self) -> None:
        """Kill the process and all that it started."""
        self._kill_group()
        self.exit_code()

    def exit_code(self) -> int:
        """The exit code, or minus the signal number; kills the process if it does not exit soon."""
        with self._ending:
            if not self._ended:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._popen.wait(_GRACE)
                self._kill_group()
                self._popen.wait()
                self._ended = True
                os.close(self._lifeline)
        self._close_pipes()
        return self._popen.returncode

    def last_lines(self) -> str:
        """The end of what this process wrote to the log, in one line."""
        with self._log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        tail = [line.strip() for line in lines if line.strip()][-_TAIL_LINES:]
        # Output of C code bypasses the redaction of the child's own streams.
        return Redactor(os.environ)(" | ".join(tail))[-_LONGEST_TAIL:]

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)

    def _close_pipes(self) -> None:
        # Not while a call reads from the file descriptors; the process is dead, so the call
        # ends by itself.
        with self._asking:
            for stream in (self._popen.stdin, self._popen.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


def _appending(log: Path) -> IO[bytes]:
    """Open the log for appending without following a symbolic link."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(log, flags, 0o644), "ab")


def raised(error: Mapping[str, Any]) -> EvomergeError:
    """The exception that an answer describes."""
    kinds = {kind.__name__: kind for kind in (CandidateError, PreflightError, StoppedError)}
    return kinds[error["type"]](error["message"], error["remedy"])


def _import_path() -> str:
    """PYTHONPATH of a child: this evomerge first, then what the user set."""
    own = str(Path(evomerge.__file__).parents[1])
    return os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH")]))


def _exit_reason(code: int) -> str:
    """How a process with exit code `code` ended; negative codes are signals."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
