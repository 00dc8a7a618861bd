"""Garbage-collection roots (what the runs of a runs folder need), and unreferenced artefacts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evomerge.domain.baseline import Baseline, baseline_of
from evomerge.domain.errors import DamagedError
from evomerge.domain.retention import needed, needed_task_vectors, task_vectors, unneeded
from evomerge.domain.state import RunState, fold
from evomerge.store.artefacts import KINDS, TASK_VECTORS, WEIGHTS, Store
from evomerge.store.run_directory import RunDirectory, list_runs


@dataclass(frozen=True)
class Unreferenced:
    """An artefact that no run refers to, or whose weights no run needs.

    Attributes:
        name: path below the store, `models/<content id>`.
        size: bytes that can be freed.
        weights_only: a run refers to it, so only its weights can be deleted.
    """

    name: str
    size: int
    weights_only: bool = False

    def free(self, store: Store) -> None:
        """Delete the artefact or its weights."""
        if self.weights_only:
            store.prune(self.name, *WEIGHTS)
        else:
            store.remove(self.name)


def states_of(runs_dir: Path) -> list[RunState]:
    """The states of all runs below `runs_dir`.

    Raises:
        DamagedError: a journal cannot be read, so it is unknown what its run needs.
    """
    return [fold(run.read()) for run in list_runs(runs_dir)]


class NeededElsewhere:
    """The weights that the runs beside `run` need; a journal is read again only after a change."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._known: dict[Path, tuple[tuple[int, int], set[str]]] = {}

    def __call__(self) -> set[str]:
        """Their content ids.

        Raises:
            DamagedError: a journal cannot be read, so it is unknown what its run needs.
        """
        own = self._run.path.resolve()
        others = (run for run in list_runs(own.parent) if run.path.resolve() != own)
        return set().union(*map(self._of, others))

    def _of(self, run: RunDirectory) -> set[str]:
        try:
            status = run.journal.stat()
        except OSError:
            return needed_weights([fold(run.read())])  # which says what is wrong with it
        version = (status.st_size, status.st_mtime_ns)
        known = self._known.get(run.path)
        if known is None or known[0] != version:
            known = self._known[run.path] = (version, needed_weights([fold(run.read())]))
        return known[1]


def baseline_beside(run: RunDirectory, state: RunState) -> Baseline | None:
    """The result of merging all foundation models at once, from this run or one beside it."""
    return baseline_of(state, _with_a_grid(run))


def _with_a_grid(run: RunDirectory) -> Iterator[RunState]:
    for other in list_runs(run.path.parent):
        if other.path.resolve() == run.path.resolve():
            continue
        # A damaged neighbour is ignored here; `evomerge verify` reports it.
        with contextlib.suppress(DamagedError, ValueError, OSError):
            if b'"kind":"grid"' in other.journal.read_bytes():  # most runs need no fold
                yield fold(other.read())


def needed_weights(states: list[RunState]) -> set[str]:
    """Content ids of the models, and of the sets of task vectors, that at least one run needs."""
    models = {state.models[name].content_id for state in states for name in needed(state)}
    return models.union(*map(needed_task_vectors, states))


def known_artefacts(state: RunState) -> set[str]:
    """Content ids of all that a run refers to: models, its base, task vectors, calibration."""
    models = {model.content_id for model in state.models.values()}
    learnt = {state.start.calibration.content_id} if state.start.calibration else set()
    return models | {state.start.base.content_id} | learnt | task_vectors(state).keys()


def unreferenced(states: list[RunState], store: Store) -> list[Unreferenced]:
    """Artefacts that belong to no run, then weights that no run needs, each sorted by name.

    Args:
        states: of all runs that use the store.

    Runs prune weights themselves (`retention`), except one that was killed at its end.
    """
    known = set[str]().union(*map(known_artefacts, states))
    found: list[Unreferenced] = []
    for kind in KINDS:
        folder = store.path(kind)
        present = sorted(folder.iterdir()) if folder.is_dir() else []
        found += [
            Unreferenced(f"{kind}/{path.name}", size_of(path))
            for path in present
            if path.name not in known
        ]
    return found + _unneeded_weights(states, store)


def _unneeded_weights(states: list[RunState], store: Store) -> list[Unreferenced]:
    kept = needed_weights(states)
    models = {state.models[name].content_id for state in states for name in unneeded(state)}
    vectors = set[str]().union(*map(task_vectors, states))
    names = [f"models/{content_id}" for content_id in sorted(models - kept)]
    names += [f"{TASK_VECTORS}/{content_id}" for content_id in sorted(vectors - kept)]
    sizes = ((name, size_of(store.path(name), WEIGHTS)) for name in names)
    return [Unreferenced(name, size, weights_only=True) for name, size in sizes if size]


def size_of(folder: Path, suffixes: tuple[str, ...] = ()) -> int:
    """Total bytes of the files below `folder`, limited to `suffixes` if any are given."""
    return sum(
        path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and (not suffixes or path.suffix in suffixes)
    )
