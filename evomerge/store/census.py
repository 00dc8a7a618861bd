"""What the runs of a runs folder refer to, and what lies in the store beyond that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evomerge.domain.retention import needed
from evomerge.domain.state import RunState, fold
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import list_runs


@dataclass(frozen=True)
class Unreferenced:
    """An artefact that no run refers to.

    Attributes:
        name: below the store, `models/<content id>`.
        size: in bytes.
    """

    name: str
    size: int


def states_of(runs_dir: Path, without: Path | None = None) -> list[RunState]:
    """The states of all runs below `runs_dir`, but for the one in folder `without`.

    Raises:
        DamagedError: a journal cannot be read; what its run needs is not known then.
    """
    skipped = None if without is None else without.resolve()
    return [fold(run.read()) for run in list_runs(runs_dir) if run.path.resolve() != skipped]


def needed_weights(states: list[RunState]) -> set[str]:
    """The content ids whose weights some run needs."""
    return {state.models[name].content_id for state in states for name in needed(state)}


def unreferenced(runs_dir: Path, store: Store) -> list[Unreferenced]:
    """Models and evaluations of no run, by name.

    Raises:
        DamagedError: a journal cannot be read, so nothing is known to be unreferenced.
    """
    known = {model.content_id for state in states_of(runs_dir) for model in state.models.values()}
    found: list[Unreferenced] = []
    for kind in ("models", "evaluations"):
        folder = store.path(kind)
        present = sorted(folder.iterdir()) if folder.is_dir() else []
        found += [
            Unreferenced(f"{kind}/{path.name}", size_of(path))
            for path in present
            if path.name not in known
        ]
    return found


def size_of(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
