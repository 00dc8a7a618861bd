"""A warm process that forks landscape drivers: a start costs milliseconds instead of imports.

    python -m laboratory.server [PLANTS]

reads one JSON request a line from stdin and answers each with one line. PLANTS is a Python file
with a dict `PLANTS` of functions by name; those that a request names are called in the driver
before it starts, to plant a bug.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import resource
import runpy
import select
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import which
from typing import Any, NoReturn

from evomerge.store import faults
from evomerge.testing import landscape_run
from laboratory import interpose

Plants = dict[str, Callable[[], None]]
TIMEOUT = 60.0


@dataclass(frozen=True)
class Request:
    """One start of a driver.

    Attributes:
        arguments: of `landscape_run`.
        fault: as in EVOMERGE_FAULT.
        plants: names of bugs to plant.
        operation: what `interpose.watch` is to do, by its arguments.
        strace: arguments of a strace that is attached to one thread before it does anything.
        thread: that thread: 0 is the main one, then in the order of their start.
    """

    arguments: tuple[str, ...]
    fault: str | None = None
    plants: tuple[str, ...] = ()
    operation: dict[str, Any] | None = None
    strace: tuple[str, ...] | None = None
    thread: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a driver ended.

    Attributes:
        code: the exit code, or minus the signal that ended it.
        traced: whether the thread that was to be traced was started.
        report: how often each fault point was met, if a fault was asked for; what
            `interpose.watch` found.
    """

    code: int
    output: str
    errors: str
    traced: bool = False
    report: dict[str, Any] = field(default_factory=dict)


def serve(plants: Plants) -> None:
    """Answer requests until stdin ends."""
    gc.freeze()
    for line in sys.stdin:
        outcome = start(Request(**json.loads(line)), plants)
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
        sys.stdout.flush()


def start(request: Request, plants: Plants) -> Outcome:
    """Fork a driver and wait for its end."""
    with tempfile.TemporaryDirectory() as scratch:
        output, errors, report = (Path(scratch) / name for name in ("out", "err", "report"))
        ready, go = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ready[0])
            os.close(go[1])
            _redirect(output, errors)
            _drive(request, plants, _Gate(ready[1], go[0]), report)
        os.close(ready[1])
        os.close(go[0])
        traced = False
        try:
            with contextlib.ExitStack() as stack:
                if request.strace is not None:
                    traced = _attach(stack, request.strace, ready[0], go[1])
                code = _wait(pid)
        finally:
            os.close(ready[0])
            os.close(go[1])
        found = json.loads(report.read_text()) if report.exists() else {}
        return Outcome(code, output.read_text(), errors.read_text(), traced, found)


@dataclass(frozen=True)
class _Gate:
    """Where a driver's thread waits for the tracer."""

    ready: int
    go: int

    def pass_through(self) -> None:
        os.write(self.ready, threading.get_native_id().to_bytes(4, "little"))
        os.read(self.go, 1)


def _redirect(output: Path, errors: Path) -> None:
    for number, path in ((1, output), (2, errors)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, number)
        os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)


def _drive(request: Request, plants: Plants, gate: _Gate, report: Path) -> NoReturn:
    """Be the driver; never returns."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = 1
    try:
        for name in request.plants:
            plants[name]()
        faults.arm(request.fault)
        if request.operation is not None:
            interpose.watch(**request.operation)
        if request.strace is not None:
            _hold(gate, request.thread)
        landscape_run.main(request.arguments)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        report.write_text(json.dumps({"points": faults.met(), **interpose.finish()}))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _hold(gate: _Gate, wanted: int) -> None:
    """Let the `wanted`th thread wait for its tracer."""
    if wanted == 0:
        gate.pass_through()
        return
    numbers = itertools.count(1)
    run = threading.Thread.run

    def held(self: threading.Thread) -> None:
        if next(numbers) == wanted:
            gate.pass_through()
        run(self)

    threading.Thread.run = held  # type: ignore[method-assign]


def _attach(stack: contextlib.ExitStack, arguments: tuple[str, ...], ready: int, go: int) -> bool:
    """Attach strace to the thread that waits at the gate; whether one came."""
    told = os.read(ready, 4)
    if not told:
        return False
    thread = int.from_bytes(told, "little")
    tracer = stack.enter_context(
        subprocess.Popen(
            [which("strace") or "strace", *arguments, "-p", str(thread)],
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    if tracer.stderr is None or "attached" not in tracer.stderr.readline():
        raise RuntimeError("strace cannot attach here (see its option -p)")
    os.write(go, b"g")
    return True


def _wait(pid: int) -> int:
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], TIMEOUT)[0]:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise TimeoutError("the driver hangs")
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    serve(runpy.run_path(sys.argv[1])["PLANTS"] if sys.argv[1:] else {})
