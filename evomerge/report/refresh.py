"""Updates of a running run's report that neither block nor endanger the run.

Drawing takes a few seconds of CPU and a lot of memory, so a child process of low
priority does it from the journal; the driver only starts it. One process draws at a time;
generations that end meanwhile, or soon after, are covered by the next drawing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Self

from evomerge.domain.events import Event, GenerationFinished, RunFinished
from evomerge.domain.state import RunState
from evomerge.store.faults import VARIABLE
from evomerge.store.run_directory import RunDirectory

LOG = "report.log"
_PATIENCE = 120.0  # seconds to wait for the report at the end of a run
_PACE = 30.0  # seconds between two drawings; small generations are faster than drawing


class ReportRefresher:
    """An `Observer` that updates the report after generations and at the end of the run.

    Errors are passed to `warn`, one line each, and never raised.
    """

    def __init__(self, run: RunDirectory, warn: Callable[[str], None], pace: float = _PACE) -> None:
        self._run, self._warn, self._pace = run, warn, pace
        self._next = 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._due = False
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Draw the last report if the run is finished; a stopped run does not wait for it."""
        if raised[1] is None and self._finished:
            self._await()
            self._start("--background")
            self._await()

    def on_event(self, event: Event, state: RunState) -> None:
        """Start drawing if a generation has ended since the last drawing."""
        self._due |= isinstance(event, GenerationFinished)
        self._finished |= isinstance(event, RunFinished)
        if self._finished or not self._due or self._drawing():
            return
        if time.monotonic() >= self._next:
            self._due, self._next = False, time.monotonic() + self._pace
            self._start("--background", "--no-plots")

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Do nothing: reports are not updated during a step."""

    def _drawing(self) -> bool:
        if self._child is None:
            return False
        if self._child.poll() is None:
            return True
        self._judge(self._child.returncode)
        return False

    def _start(self, *options: str) -> None:
        command = [sys.executable, "-m", "evomerge", "report", str(self._run.path), *options]
        environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
        try:
            with (self._run.logs / LOG).open("wb") as log:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C should reach only the driver
                )
        except OSError as error:
            self._warn(f"the report could not be written: {error}")

    def _await(self) -> None:
        if self._child is None:
            return
        try:
            self._judge(self._child.wait(_PATIENCE))
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            self._warn(f"the report was abandoned after {_PATIENCE:.0f} s")
        self._child = None

    def _judge(self, code: int) -> None:
        self._child = None
        if code:
            log = self._run.logs / LOG
            self._warn(f"the report could not be written (see {log}); the run is not affected")
