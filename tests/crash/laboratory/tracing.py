"""System calls of a driver, counted and struck by strace (Linux).

strace counts for each thread apart, so a point is a thread, a system call and its how-manieth call
in that thread. It is attached when the imports are over: every call that it counts is the run's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from laboratory.drivers import Drivers
from laboratory.invariants import Scenario
from laboratory.server import Outcome

CALLS = {
    "write": ("write", "pwrite64", "writev"),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("rename", "renameat", "renameat2"),
    "mkdir": ("mkdir", "mkdirat"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "ftruncate": ("ftruncate", "truncate"),
    "symlink": ("symlink", "symlinkat"),
}
"""What changes a disk, by the name under which it is reported."""

_CALL = re.compile(r"^(\w+)\((.*)$")


@cache
def obstacle() -> str | None:
    """Why no driver can be stopped at a system call here; None if it can."""
    strace, cat = shutil.which("strace"), shutil.which("cat")
    if strace is None or cat is None:
        return "strace is needed to stop a driver at a system call: apt-get install strace"
    with subprocess.Popen([cat], stdin=subprocess.PIPE) as victim:
        command = [strace, "-o", "/dev/null", "-p", str(victim.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            said = tracer.stderr.readline() if tracer.stderr else ""
            victim.kill()  # ends the tracer too
    attached = "attached" in said
    return None if attached else f"strace may not attach to a process here: {said.strip()}"


@dataclass(frozen=True, order=True)
class Point:
    """The `when`th `call` of a thread, counted from 1; `group` is a key of `CALLS`."""

    thread: int
    group: str
    call: str
    when: int

    def __str__(self) -> str:
        return f"thread {self.thread}, {self.call} {self.when}"


def points(scenario: Scenario, drivers: Drivers, folder: Path) -> list[Point]:
    """Every change that an uninterrupted run of the scenario makes below its runs folder."""
    found: list[Point] = []
    thread = 0
    while True:
        root = scenario.lay_out(folder / f"count-{thread}")
        log = folder / f"log-{thread}"
        outcome = _traced(scenario, drivers, root, thread, "-y", "-o", str(log), _calls("trace"))
        if not outcome.traced:
            return found
        if outcome.code != 0:
            raise RuntimeError(f"traced, the run does not end well: {outcome.errors}")
        found += _points_of(thread, log, str(root / "runs"))
        shutil.rmtree(root)
        thread += 1


def _calls(option: str) -> str:
    names = (f"?{name}" for group in CALLS.values() for name in group)
    return f"-e{option}={','.join(names)}"


def _points_of(thread: int, log: Path, runs: str) -> list[Point]:
    groups = {name: group for group, names in CALLS.items() for name in names}
    counts: Counter[str] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        call, rest = match.groups()
        counts[call] += 1
        if runs in rest:
            found.append(Point(thread, groups[call], call, counts[call]))
    return found


def strike(scenario: Scenario, drivers: Drivers, root: Path, point: Point, blow: str) -> Outcome:
    """Run the scenario and do `blow` at a point: `signal=SIGKILL` or `error=ENOSPC`."""
    inject = f"-einject={point.call}:{blow}:when={point.when}"
    return _traced(
        scenario, drivers, root, point.thread, "-o", "/dev/null", f"-etrace={point.call}", inject
    )


def _traced(
    scenario: Scenario, drivers: Drivers, root: Path, thread: int, *options: str
) -> Outcome:
    return drivers.start(
        root, *scenario.words, plants=scenario.plants, strace=options, thread=thread
    )
