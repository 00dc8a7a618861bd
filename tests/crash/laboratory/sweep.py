"""Stop a landscape run everywhere, resume it, and check every invariant.

    scripts/crash_sweep [--jobs 2] [--only kill,error,fault,tear,power] [--every 1]

kill    SIGKILL at every system call of a driver that changes the disk (strace)
error   the same calls fail: a full disk, an input/output error (strace)
fault   the named points of `evomerge.store.faults`, with each of their actions
tear    SIGKILL in the middle of every write
power   every state in which unsynced changes are lost, between any two changes
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from evomerge.store.faults import POINTS
from laboratory import tracing
from laboratory.disk import CrashState, Disk, crash_states, read_log, write_tree
from laboratory.drivers import Drivers
from laboratory.invariants import (
    Left,
    Scenario,
    baseline,
    last_words,
    left_behind,
    resumed,
    run_of,
)
from laboratory.server import Outcome
from laboratory.tracing import Point, strike

KINDS = ("kill", "error", "fault", "tear", "power")
ACTIONS = ("kill", "term", "raise", "enospc")
ERRORS = {
    "write": ("ENOSPC", "EIO"),
    "fsync": ("EIO",),
    "rename": ("ENOSPC", "EROFS"),
    "mkdir": ("ENOSPC", "EDQUOT"),
    "unlink": ("EIO", "EROFS"),
    "ftruncate": ("EIO",),
    "symlink": ("ENOSPC",),
}
"""How the calls fail, in turns."""
KILLS = (2, 4, "artefact.renamed:4:kill", "artefact.renamed:20:kill", "journal.written:9:kill")
"""Where a driver is killed some time before the power fails, each just before something is synced:
a change by its number (the run's folders), or a named point."""
PRUNING = ("--retention", "best")
WEIGHING = ("--strategy", "seed_grid", "--method", "wudi", "--retention", "best")


@dataclass(frozen=True)
class Case:
    """One interruption.

    Attributes:
        group: the row of the table.
        check: interrupts and resumes a run in an absent folder; what does not hold.
    """

    group: str
    name: str
    check: Callable[[Drivers, Path], list[str]]


@dataclass
class Row:
    """What became of a group."""

    points: int = 0
    passed: int = 0
    seconds: float = 0.0


@dataclass
class Report:
    """What became of all cases; `failures` by the name of the case."""

    rows: dict[str, Row] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """Cases tried."""
        return sum(row.points for row in self.rows.values())

    def add(self, case: Case, faults: list[str], seconds: float) -> None:
        """Count a case."""
        row = self.rows.setdefault(case.group, Row())
        row.points += 1
        row.passed += not faults
        row.seconds += seconds
        if faults:
            self.failures[f"{case.group}: {case.name}"] = faults

    def __str__(self) -> str:
        lines = [f"{'group':28} {'points':>7} {'passed':>7} {'seconds':>8}"]
        lines += [
            f"{group:28} {row.points:7} {row.passed:7} {row.seconds:8.1f}"
            for group, row in self.rows.items()
        ]
        lines += [f"FAILED {name}: {'; '.join(faults)}" for name, faults in self.failures.items()]
        return "\n".join(lines)


def run_cases(
    cases: Sequence[Case],
    folder: Path,
    *,
    jobs: int = 2,
    plants: Path | None = None,
    wanted: str | None = None,
) -> Report:
    """Try all cases.

    Args:
        wanted: a pattern; once a fault matches it, the cases that are left are not tried.
    """
    report = Report()
    found = threading.Event()
    idle: SimpleQueue[Drivers] = SimpleQueue()

    def work(number: int, case: Case) -> None:
        if found.is_set():
            return
        drivers = idle.get()
        root = folder / f"case-{number}"
        started = time.monotonic()
        try:
            faults = case.check(drivers, root)
        finally:
            idle.put(drivers)
            shutil.rmtree(root, ignore_errors=True)
        report.add(case, faults, time.monotonic() - started)
        if wanted is not None and any(re.search(wanted, fault) for fault in faults):
            found.set()

    with contextlib.ExitStack() as stack:
        for _ in range(jobs):
            idle.put(stack.enter_context(Drivers(plants)))
        workers = stack.enter_context(ThreadPoolExecutor(jobs))
        for done in [workers.submit(work, *each) for each in enumerate(cases)]:
            done.result()
    return report


def kill_cases(scenario: Scenario, points: Sequence[Point], label: str = "") -> Iterator[Case]:
    """SIGKILL at each of `points`."""
    for point in points:
        check = partial(_killed, scenario, point)
        yield Case(f"kill {point.group}{label}", str(point), check)


def _killed(scenario: Scenario, point: Point, drivers: Drivers, root: Path) -> list[str]:
    scenario.lay_out(root)
    outcome = strike(scenario, drivers, root, point, "signal=SIGKILL")
    if outcome.code != -9:
        return [f"not killed, exit {outcome.code}"]
    return resumed(scenario, drivers, root)


def error_cases(scenario: Scenario, points: Sequence[Point], label: str = "") -> Iterator[Case]:
    """The calls at `points` fail as on a full or broken disk."""
    for point in points:
        errors = ERRORS[point.group]
        error = errors[point.when % len(errors)]
        check = partial(_failed, scenario, point, error)
        yield Case(f"{error} {point.group}{label}", str(point), check)


def _failed(
    scenario: Scenario, point: Point, error: str, drivers: Drivers, root: Path
) -> list[str]:
    scenario.lay_out(root)
    outcome = strike(scenario, drivers, root, point, f"error={error}")
    # What cannot be cleaned up now is cleaned up by the next driver.
    spared = point.group == "unlink" and outcome.code == 0
    faults = [] if spared else storage_stop(outcome)
    return faults + resumed(scenario, drivers, root)


def storage_stop(outcome: Outcome) -> list[str]:
    """What is wrong with the end of a driver whose disk failed."""
    if outcome.code != 75:
        return [f"exit {outcome.code} where 75 is due: {last_words(outcome)}"]
    if "free" not in outcome.errors or "Traceback" in outcome.errors:
        return [f"an unhelpful message: {outcome.errors}"]
    return []


def met_points(scenario: Scenario, drivers: Drivers, root: Path) -> dict[str, int]:
    """How often an uninterrupted run of the scenario meets each fault point."""
    scenario.lay_out(root)
    outcome = drivers.start(root, *scenario.words, fault="none:0:kill", plants=scenario.plants)
    points: dict[str, int] = outcome.report["points"]
    return points


def fault_cases(scenario: Scenario, met: dict[str, int], label: str = "") -> Iterator[Case]:
    """Every named point with every action: the first time, in the middle and the last time."""
    for point in POINTS:
        count = met.get(point, 0)
        for number in sorted({1, (count + 1) // 2, count} - {0} if count else ()):
            for action in ACTIONS:
                fault = f"{point}:{number}:{action}"
                check = partial(_faulted, scenario, fault)
                yield Case(f"fault {action}{label}", fault, check)


def _faulted(scenario: Scenario, fault: str, drivers: Drivers, root: Path) -> list[str]:
    scenario.lay_out(root)
    outcome = drivers.start(root, *scenario.words, fault=fault, plants=scenario.plants)
    return _end_of(fault, outcome) + resumed(scenario, drivers, root)


def _end_of(fault: str, outcome: Outcome) -> list[str]:
    """What is wrong with the end of a driver after a named fault."""
    point, _, action = fault.rsplit(":", 2)
    expected = {"kill": {-9}, "term": {143, -15}, "raise": {1}, "enospc": {75}}[action]
    if action == "enospc":
        return storage_stop(outcome)
    if outcome.code not in expected:
        return [f"exit {outcome.code} where {expected} is due: {outcome.errors.strip()}"]
    if action == "raise" and f"fault at {point}" not in outcome.errors:
        return ["the traceback of a bug is not shown"]
    return []


def tear_cases(scenario: Scenario, changes: int, label: str = "", only: str = "") -> Iterator[Case]:
    """SIGKILL at every change, in the middle of it if it is a write; `only` as for `watch`."""
    for number in range(1, changes + 1):
        check = partial(_torn, scenario, number, only)
        yield Case(f"tear{label}", f"change {number}", check)


def _torn(scenario: Scenario, number: int, only: str, drivers: Drivers, root: Path) -> list[str]:
    scenario.lay_out(root)
    how = {"root": str(root), "kill_at": number, "torn": True, "only": only}
    outcome = drivers.start(root, *scenario.words, operation=how, plants=scenario.plants)
    if outcome.code != -9:
        return [f"not killed, exit {outcome.code}"]
    return resumed(scenario, drivers, root)


def count_changes(scenario: Scenario, drivers: Drivers, root: Path, only: str = "") -> int:
    """How many changes an uninterrupted run of the scenario makes."""
    scenario.lay_out(root)
    how = {"root": str(root), "only": only}
    outcome = drivers.start(root, *scenario.words, operation=how, plants=scenario.plants)
    return int(outcome.report["changes"])


def power_cases(
    scenario: Scenario,
    drivers: Drivers,
    folder: Path,
    kills: Sequence[int | str] = (),
    label: str = "",
) -> Iterator[Case]:
    """The power fails between any two changes of a run.

    Args:
        kills: where earlier drivers of the run are killed, a change or a named point each: what
            was unsynced then still is.
    """
    root, log = folder / "logged", folder / f"log{label}{len(kills)}"
    log.unlink(missing_ok=True)
    scenario.lay_out(root)
    for kill in (*kills, None):
        kill_at, fault = (kill, None) if isinstance(kill, int) else (None, kill)
        how = {"root": str(root), "log": str(log), "kill_at": kill_at}
        drivers.start(root, *scenario.words, operation=how, fault=fault, plants=scenario.plants)
    lines = run_of(root).journal.read_bytes().splitlines(keepends=True)
    shutil.rmtree(root)
    for state in crash_states(read_log(log), Disk(scenario.prepared)):
        recorded = b"".join(lines[: state.committed])
        yield Case(f"power{label}", str(state), partial(_cut, scenario, state, recorded))


def _cut(
    scenario: Scenario, state: CrashState, recorded: bytes, drivers: Drivers, root: Path
) -> list[str]:
    write_tree(state.tree, root)
    before = left_behind(root)
    faults = [] if before.journal.startswith(recorded) else ["committed events are lost"]
    return faults + resumed(scenario, drivers, root, before or Left())


def prepare(drivers: Drivers, folder: Path) -> Path:
    """A run whose driver was killed: half an artefact, half a line, half a checkpoint."""
    root = folder / "prepared"
    root.mkdir()
    drivers.start(root, *PRUNING, fault="artefact.listed:17:kill")
    run = run_of(root)
    data = run.journal.read_bytes()
    last = data.splitlines()[-1]
    run.journal.write_bytes(data + last[: len(last) // 2])
    (run.generations / ".01.yaml.4194305.tmp").write_text("half")
    return root


def all_scenarios(drivers: Drivers, folder: Path) -> dict[str, Scenario]:
    """A whole run, one that prunes, one over task vectors, and one that was left in the middle."""
    pruning = Scenario(PRUNING, baseline(drivers, folder / "pruning", *PRUNING))
    return {
        "whole": Scenario(digest=baseline(drivers, folder / "whole")),
        "pruning": pruning,
        "weighing": Scenario(WEIGHING, baseline(drivers, folder / "weighing", *WEIGHING)),
        "resumed": replace(pruning, prepared=prepare(drivers, folder)),
    }


def all_cases(folder: Path, kinds: Sequence[str], every: int) -> Iterator[Case]:
    """The cases of every kind over all scenarios, each `every`th of them."""
    with Drivers() as drivers:
        for name, scenario in all_scenarios(drivers, folder).items():
            place = folder / f"scenario-{name}"
            place.mkdir()
            cases = _cases_of(scenario, f", {name}", drivers, place, kinds)
            yield from (case for index, case in enumerate(cases) if index % every == 0)


def _cases_of(
    scenario: Scenario, label: str, drivers: Drivers, folder: Path, kinds: Sequence[str]
) -> Iterator[Case]:
    if "kill" in kinds or "error" in kinds:
        points = tracing.points(scenario, drivers, folder)
        yield from kill_cases(scenario, points, label) if "kill" in kinds else ()
        yield from error_cases(scenario, points, label) if "error" in kinds else ()
    if "fault" in kinds:
        yield from fault_cases(scenario, met_points(scenario, drivers, folder / "met"), label)
    if "tear" in kinds:
        yield from tear_cases(scenario, count_changes(scenario, drivers, folder / "torn"), label)
    if "power" in kinds:
        yield from power_cases(scenario, drivers, folder, label=label)
        for kill in KILLS if scenario.prepared is None else ():
            cases = power_cases(scenario, drivers, folder, (kill,), f"{label}, after a kill")
            yield from islice(cases, 0, None, 10)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default=",".join(KINDS), help="kinds, separated by commas")
    parser.add_argument("--every", type=int, default=1, help="try every nth case only")
    arguments = parser.parse_args()
    kinds = arguments.only.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if {"kill", "error"} & set(kinds) and (obstacle := tracing.obstacle()):
        parser.exit(3, f"{obstacle}\n  or do without it: --only fault,tear,power\n")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        cases = list(all_cases(Path(folder), kinds, arguments.every))
        report = run_cases(cases, Path(folder), jobs=arguments.jobs)
    sys.stdout.write(f"{report}\n")
    seconds = time.monotonic() - started
    total = f"{report.points} interruptions, {len(report.failures)} failed, {seconds:.0f} s"
    sys.stdout.write(f"{total}\n")
    sys.exit(1 if report.failures else 0)


_Raw = argparse.RawDescriptionHelpFormatter


def _memory() -> str | None:
    """Where syncing costs nothing, if there is such a place."""
    place = Path("/dev/shm")
    return str(place) if place.is_dir() and shutil.disk_usage(place).free > 1e9 else None


if __name__ == "__main__":
    main()
