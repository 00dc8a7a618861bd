"""Removing a run, with what only it needs in the store."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass

from evomerge.domain.errors import DamagedError, LockedError, UsageError
from evomerge.domain.state import RunState, fold
from evomerge.store.artefacts import KINDS, Store
from evomerge.store.atomic import storage_faults, sync_folder
from evomerge.store.gc_roots import (
    Unreferenced,
    baseline_beside,
    known_artefacts,
    size_of,
    unreferenced,
)
from evomerge.store.run_directory import RunDirectory, list_runs


@dataclass(frozen=True)
class Removal:
    """What removing a run deletes.

    Attributes:
        size: bytes of its folder.
        artefacts: of the store, those that no other run refers to or whose weights none needs.
        shared: number of the run's artefacts that stay, since other runs refer to them.
    """

    run: RunDirectory
    size: int
    artefacts: tuple[Unreferenced, ...]
    shared: int

    @property
    def freed(self) -> int:
        """All bytes that are freed."""
        return self.size + sum(artefact.size for artefact in self.artefacts)

    def carry_out(self) -> None:
        """Delete the run's folder, all at once for a reader, then the artefacts.

        What a kill leaves behind is deleted by `evomerge gc --yes`.

        Raises:
            LockedError: a process drives the run.
        """
        store = Store(self.run.store)
        aside = store.aside(f"runs/{self.run.name}")
        with self.run.locked(), storage_faults(self.run.path):
            self.run.path.rename(aside)
            sync_folder(self.run.path.parent)
            sync_folder(aside.parent)
        for artefact in self.artefacts:
            artefact.free(store)
        shutil.rmtree(aside)


def removal_of(run: RunDirectory) -> Removal:
    """What removing `run` would delete; nothing is changed.

    Raises:
        LockedError: a process drives the run.
        UsageError: it is the baseline of other runs.
        DamagedError: another run's journal cannot be read, so it is unknown what that needs.
    """
    if (holder := run.holder()) is not None:
        raise LockedError(
            f"run {run.name} is driven by another process ({holder})", "stop it first"
        )
    others = [each for each in list_runs(run.path.parent) if each.path.name != run.path.name]
    states = [fold(each.read()) for each in others]
    compared = [
        each.name
        for each, state in zip(others, states, strict=True)
        if (found := baseline_beside(each, state)) is not None and found.run == run.name
    ]
    if compared:
        raise UsageError(
            f"{run.name} is the baseline of {', '.join(compared)}: their status and reports "
            "compare with it",
            f"remove those first: {RunDirectory(run.path.parent / compared[0]).command('rm')}",
        )
    state, store = _state(run), Store(run.store)
    own = known_artefacts(state) if state else set()
    freed = [each for each in unreferenced(states, store) if each.name.split("/")[1] in own]
    whole = {each.name for each in freed if not each.weights_only}
    names = {f"{kind}/{content_id}" for kind in KINDS for content_id in own}
    shared = sum(store.path(name).exists() for name in names - whole)
    return Removal(run, size_of(run.path), tuple(freed), shared)


def _state(run: RunDirectory) -> RunState | None:
    """The state of the run; None if its journal cannot be read: gc finds what it leaves behind."""
    with contextlib.suppress(DamagedError, ValueError):
        return fold(run.read())
    return None
