"""What must hold of a landscape run whenever its driver was stopped, and after it was resumed."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import DamagedError
from evomerge.domain.retention import needed, needed_task_vectors
from evomerge.domain.state import Entry, RunState, fold
from evomerge.store.artefacts import Store
from evomerge.store.journal import read_journal
from evomerge.store.run_directory import STORE_FOLDER, RunDirectory
from evomerge.store.verification import verify
from laboratory.drivers import Drivers
from laboratory.server import Outcome


def run_of(root: Path) -> RunDirectory:
    """The run directory of a landscape run."""
    return RunDirectory(root / "runs" / "landscape")


def store_of(root: Path) -> Store:
    """Its store."""
    return Store(root / "runs" / STORE_FOLDER)


@dataclass(frozen=True)
class Scenario:
    """A landscape run to interrupt.

    Attributes:
        words: arguments of `landscape_run`.
        digest: of the uninterrupted run; None when its evaluator is noisy.
        prepared: a folder to start from, left by a driver that was killed.
        plants: bugs in every driver of this scenario.
    """

    words: tuple[str, ...] = ()
    digest: str | None = None
    prepared: Path | None = None
    plants: tuple[str, ...] = ()

    def lay_out(self, root: Path) -> Path:
        """A fresh folder for one run of the scenario."""
        if self.prepared is not None:
            shutil.copytree(self.prepared, root, symlinks=True)
        else:
            root.mkdir(parents=True)
        return root


@dataclass(frozen=True)
class Left:
    """What a driver left: its journal as bytes, and what is wrong already."""

    journal: bytes = b""
    entries: tuple[Entry, ...] = ()
    faults: list[str] = field(default_factory=list)


def left_behind(root: Path) -> Left:
    """Look at a run whose driver is gone: artefact first, event second; prune after the event."""
    run = run_of(root)
    if not run.exists:
        return Left()
    try:
        content = read_journal(run.journal)
    except DamagedError as error:
        return Left(faults=[f"the journal is damaged: {error.message}"])
    state = fold(content.entries)
    faults = [f"recorded but {fault}" for fault in _artefacts(root, state)]
    kept = needed(state) | needed_task_vectors(state)
    faults += [f"pruned but needed: {name}" for name in _pruned(root, state) & kept]
    data = run.journal.read_bytes()[: content.length]
    return Left(data, content.entries, sorted(faults))


def _artefacts(root: Path, state: RunState) -> list[str]:
    return [
        f"{finding.verdict}: {finding.name}"
        for finding in verify(state, store_of(root))
        if finding.verdict in {"missing", "damaged"}
    ]


def _pruned(root: Path, state: RunState) -> set[str]:
    findings = verify(state, store_of(root))
    return {finding.name.split(":")[0] for finding in findings if finding.verdict == "pruned"}


def resumed(
    scenario: Scenario, drivers: Drivers, root: Path, before: Left | None = None
) -> list[str]:
    """Resume to the end; every invariant that does not hold."""
    before = before if before is not None else left_behind(root)
    outcome = drivers.resume(root, *scenario.words, plants=scenario.plants)
    if outcome.code != 0:
        return [*before.faults, f"resume exits with {outcome.code}: {last_words(outcome)}"]
    faults = [*before.faults, *_at_the_end(scenario, root, before)]
    if scenario.digest is not None and outcome.output.strip() != scenario.digest:
        faults.append(f"another digest: {outcome.output.strip()}")
    return faults


def last_words(outcome: Outcome) -> str:
    """The line in which a driver says why it ended."""
    lines = outcome.errors.strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _at_the_end(scenario: Scenario, root: Path, before: Left) -> list[str]:
    run = run_of(root)
    try:
        content = read_journal(run.journal)
    except DamagedError as error:
        return [f"the journal is damaged: {error.message}"]
    state = fold(content.entries)
    faults = [] if state.finished else ["not finished"]
    if not run.journal.read_bytes().startswith(before.journal):
        faults.append("what was recorded before is not a prefix of the journal")
    if scenario.digest is not None and decision_digest(state) != scenario.digest:
        faults.append("the journal has another digest")
    faults += _artefacts(root, state)
    if not (before.entries and fold(before.entries).finished):
        faults += _left_over(root)  # a finished run is left as it is
    return faults + _done_twice(content.entries)


def _left_over(root: Path) -> list[str]:
    store = store_of(root).root
    found = [*(store / "tmp").glob("*"), *run_of(root).path.rglob(".*.tmp")]
    return [f"left over: {path.relative_to(root)}" for path in found]


def _done_twice(entries: tuple[Entry, ...]) -> list[str]:
    events = [entry.event for entry in entries]
    done = Counter(
        (event.type, event.model)
        for event in events
        if event.type in ("model_merged", "model_scored", "candidate_failed")
    )
    return [f"twice: {kind} {model}" for (kind, model), count in done.items() if count > 1]


def baseline(drivers: Drivers, root: Path, *words: str, plants: tuple[str, ...] = ()) -> str:
    """The decision digest of an uninterrupted run.

    Raises:
        RuntimeError: it does not end well.
    """
    outcome = drivers.start(root, *words, plants=plants)
    if outcome.code != 0:
        raise RuntimeError(outcome.errors)
    return outcome.output.strip()
