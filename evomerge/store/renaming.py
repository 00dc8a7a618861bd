"""Renaming a run: its name is its folder's, so that one rename of the folder does it."""

from __future__ import annotations

import os
from pathlib import Path

from evomerge.config import is_run_name
from evomerge.configfile import placed
from evomerge.domain.errors import UsageError
from evomerge.store.atomic import storage_faults, sync_folder, write_atomic
from evomerge.store.run_directory import RunDirectory


def free_place(runs_dir: Path, name: str, remedy: str) -> RunDirectory:
    """The place of a new run below a runs folder.

    Raises:
        UsageError: the name is invalid, or there is something already.
    """
    run = RunDirectory(runs_dir / name)
    if not is_run_name(name):
        raise UsageError(
            f"{name!r} cannot be the name of a run",
            "use letters, digits, `.`, `_` and `-`; `store` is taken",
        )
    if os.path.lexists(run.path):
        what = "a run" if run.exists else "a file or folder"
        raise UsageError(f"there is already {what} {run.path}", remedy)
    return run


def rename(run: RunDirectory, name: str) -> RunDirectory:
    """Give a run another name; returns its new folder. Its links and artefacts stay valid.

    Raises:
        UsageError: the name is invalid or taken.
        LockedError: a process drives the run.
    """
    renamed = free_place(run.path.parent, name, "choose another name")
    with run.locked(), storage_faults(run.path):
        run.path.rename(renamed.path)
        sync_folder(renamed.path.parent)
        if renamed.config.is_file():
            text = renamed.config.read_text(encoding="utf-8")
            write_atomic(renamed.config, placed(text, name=name))
    return renamed
