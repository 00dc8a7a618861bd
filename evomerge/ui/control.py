"""Stop, resume and extend runs; used with `--allow-control` only.

A run that is resumed here is a process of its own, in a session of its own: it outlives the
server, and what it prints is in the run's logs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evomerge.domain.errors import UsageError
from evomerge.store.lock import start_time
from evomerge.store.recorded import find_own_run
from evomerge.ui.watching import Seen

LOG = "resumed-by-ui.log"
TOKEN = "EVOMERGE_UI_TOKEN"  # noqa: S105 - the name of an environment variable
_LINES = 4


@dataclass
class _Resumed:
    process: subprocess.Popen[bytes]
    log: Path
    events: int  # in the journal when it was started


class Control:
    """Stops runs and starts processes that resume them.

    Args:
        program: the command `evomerge`.
    """

    def __init__(self, program: Sequence[str] = (sys.executable, "-m", "evomerge")) -> None:
        self._program = program
        self._resumed: dict[str, _Resumed] = {}

    def stop(self, seen: Seen) -> None:
        """Ask the driver of a run to stop, as Ctrl-C does; everything done is kept.

        Raises:
            UsageError: nobody drives it, or a process of another machine or user does.
        """
        owner = seen.holder
        if owner is None:
            raise UsageError(f"{seen.name} is not running")
        if owner.host != socket.gethostname():
            raise UsageError(f"{seen.name} runs on {owner.host}", f"there: kill {owner.pid}")
        try:
            # The descriptor names one process, whatever becomes of its number.
            descriptor = os.pidfd_open(owner.pid)
            try:
                if start_time(owner.pid) == owner.started:
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            finally:
                os.close(descriptor)
        except ProcessLookupError:
            return
        except PermissionError:
            raise UsageError(f"{seen.name} is a run of another user (pid {owner.pid})") from None

    def resume(self, seen: Seen, more: int | None = None) -> None:
        """Resume a run; with `more`, extend a finished one by so many evaluations.

        Raises:
            UsageError: it is running, finished or recorded elsewhere, or its folder is read-only.
        """
        started = self._resumed.get(seen.name)
        if seen.phase == "running" or (started and started.process.poll() is None):
            raise UsageError(f"{seen.name} is running")
        if (seen.phase == "finished") != (more is not None):
            raise UsageError(f"{seen.name} is {seen.phase}")
        run = find_own_run(str(seen.run.path), seen.run.path.parent)
        words = ["resume", str(run.path), "--plain", *(["--more", str(more)] if more else [])]
        log = run.logs / LOG
        try:
            log.parent.mkdir(exist_ok=True)
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [*self._program, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={name: value for name, value in os.environ.items() if name != TOKEN},
                )
        except OSError as error:
            raise UsageError(f"{seen.name} cannot be resumed: {error}") from error
        self._resumed[seen.name] = _Resumed(process, log, seen.length)

    def told(self, seen: Seen) -> tuple[str, bool] | None:
        """(what became of the process that resumed a run, whether it failed); None without one."""
        started = self._resumed.get(seen.name)
        if started is None:
            return None
        code = started.process.poll()
        if code is None:
            return ("it is being resumed", False) if seen.length == started.events else None
        if code == 0 or -code == signal.SIGTERM or code == 128 + signal.SIGTERM:
            return None
        lines = started.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LINES:]) or f"it ended with exit code {code}", True
