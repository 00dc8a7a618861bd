"""The content-addressed store that all runs of a runs folder share.

An artefact is a folder that is built once and never changes: built in a temporary folder, listed
in a manifest with sizes and sha256, synced, and renamed into place. It is complete if its
manifest, which is written last, exists; the existence of the folder means nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evomerge.domain.errors import DamagedError, StoppedError
from evomerge.store.atomic import (
    make_folder,
    refuse_links,
    settle,
    storage_faults,
    sync_folder,
    sync_tree,
    write_atomic,
)
from evomerge.store.faults import reached
from evomerge.store.lock import file_time, free, start_time, waiting

MANIFEST = "manifest.json"
PRUNED = "pruned.json"
"""The manifest of an artefact whose weights were pruned; its small files are kept."""
CALIBRATION = "calibration"
"""The folder of what merges learn from (`Recipe.calibration`)."""
TASK_VECTORS = "task_vectors"
"""The folder of the sets of disentangled task vectors (`Recipe.task_vectors`)."""
WEIGHTS = (".safetensors", ".bin")
"""Suffixes of the files of a model that are pruned."""
KINDS = ("models", "evaluations", TASK_VECTORS, CALIBRATION)
"""The folders of a store whose artefacts belong to runs."""
_ABANDONED = 24 * 3600.0
"""Seconds without writes after which a temporary folder of another host counts as abandoned."""
_BLOCK = 1 << 22
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class Made:
    """A complete artefact.

    Attributes:
        seconds: build time, 0 if it was reused.
    """

    path: Path
    reused: bool
    seconds: float


class Store:
    """Artefacts below one folder, named by relative paths such as `models/<content id>`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self._locks = root / "locks"
        self._trusted: set[str] = set()

    def path(self, name: str) -> Path:
        """The folder of the artefact `name`, whether or not it exists.

        Raises:
            DamagedError: a component is not a plain file name, so evomerge did not choose it.
        """
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise DamagedError(
                f"{name!r} is not the name of an artefact: the journal was edited by hand",
                "restore the journal from a backup",
            )
        return self.root / name

    def holds(self, name: str) -> bool:
        """Whether `name` is complete: it has a manifest, and every file has the listed size."""
        return not problems(self.path(name), deep=False)

    def obtain(
        self,
        name: str,
        build: Callable[[Path], None],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Made:
        """The artefact `name`, built by `build(empty folder)` unless it is complete.

        If two processes request the same artefact, it is built once and the other one waits.

        Raises:
            StoppedError: `cancelled` returned true while another process was building it.
        """
        make_folder(self.path(name).parent)
        make_folder(self._locks)
        with waiting(self._lock_of(name), cancelled):
            if self._is_intact(name):
                return Made(self.path(name), reused=True, seconds=0.0)
            started = time.monotonic()
            with self.temporary_folder(name) as folder:
                reached("artefact.started")
                build(folder)
                reached("artefact.built")
                self._commit(folder, name)
            self._trusted.add(name)
            return Made(self.path(name), reused=False, seconds=time.monotonic() - started)

    def _is_intact(self, name: str) -> bool:
        """Whether `name` is intact; hashes every byte once per process before its first use."""
        if name in self._trusted:
            return self.holds(name)
        if problems(self.path(name), deep=True):
            return False
        settle(self.path(name), above=self.root.parent)
        self._trusted.add(name)
        return True

    def aside(self, name: str) -> Path:
        """A place for `name` on the store's disk, which `sweep` empties if this process is killed.

        It is another one each time: a worker of another machine that was given up may still be
        writing to that of its own.
        """
        make_folder(self.temporary)
        attempt = f"{secrets.token_hex(4)}.{socket.gethostname()}.{os.getpid()}"
        return self.temporary / f"{name.replace('/', '--')}.{attempt}"

    @contextlib.contextmanager
    def temporary_folder(self, name: str) -> Iterator[Path]:
        """An empty folder for `name`, deleted at the end if it is still there."""
        folder = self.aside(name)
        folder.mkdir()
        try:
            with storage_faults(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def receive(self, name: str, unpack: Callable[[Path], None]) -> None:
        """Take over an artefact, whole or pruned, that `unpack` writes with its own manifest.

        One that is here stays, except if only the other one has its weights.

        Raises:
            DamagedError: it is not what its manifest says, so nothing is taken over.
        """
        make_folder(self.path(name).parent)
        make_folder(self._locks)
        with waiting(self._lock_of(name)):
            if self._is_intact(name):
                return
            with self.temporary_folder(name) as folder:
                unpack(folder)
                if (folder / MANIFEST).is_file():
                    if found := problems(folder, deep=True):
                        raise DamagedError(f"{name} is damaged: {found[0]}")
                elif self.path(name).exists():
                    return
                self._place(folder, name)

    def _commit(self, folder: Path, name: str) -> None:
        write_atomic(folder / MANIFEST, json.dumps(manifest_of(folder), indent=1))
        reached("artefact.listed")
        self._place(folder, name)

    def _place(self, folder: Path, name: str) -> None:
        """Put a complete folder in its place, durably."""
        sync_tree(folder)
        reached("artefact.synced")
        target = self.path(name)
        _check_rebuilt(target, folder)
        # Remove a damaged or pruned artefact, so that its files do not mix with new ones.
        _delete(target)
        folder.rename(target)
        reached("artefact.renamed")
        sync_folder(target.parent)
        reached("artefact.durable")

    def prune(self, name: str, *suffixes: str) -> int:
        """Delete the files of an artefact with one of `suffixes`; returns the bytes freed.

        The manifest is renamed first, so that a kill in between leaves an artefact that is marked
        as incomplete.
        """
        folder = self.path(name)
        make_folder(self._locks)
        with waiting(self._lock_of(name)):
            if folder.is_symlink():
                return 0  # a symbolic link: its target is not ours
            if (folder / MANIFEST).is_file():
                (folder / MANIFEST).rename(folder / PRUNED)
                sync_folder(folder)
                reached("prune.before")
            if not (folder / PRUNED).is_file():
                return 0
            large = [path for path in folder.rglob("*") if path.suffix in suffixes]
            freed = sum(path.stat().st_size for path in large)
            for path in large:
                path.unlink()
                reached("prune.removed")
            return freed

    def remove(self, name: str) -> None:
        """Delete an artefact."""
        make_folder(self._locks)
        with waiting(self._lock_of(name)):
            _delete(self.path(name))

    def _lock_of(self, name: str) -> Path:
        return self._locks / name.replace("/", "--")

    def sweep(self) -> int:
        """Delete temporary folders of killed processes; returns the number of folders deleted.

        A process of this host is looked up by pid. A process of another host counts as killed if
        the artefact's lock is free and nothing was written for a day.
        """
        refuse_links([self.root / each for each in (*KINDS, "tmp", "locks")])
        removed = 0
        for folder in sorted(self.temporary.glob("*--*")) if self.temporary.is_dir() else ():
            if self._is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                reached("sweep.removed")
                removed += 1
        return removed

    def _is_abandoned(self, folder: Path) -> bool:
        rest, _, pid = folder.name.rpartition(".")
        if rest.endswith(f".{socket.gethostname()}") and pid.isdigit():
            return start_time(int(pid)) is None
        name = folder.name.partition(".")[0]
        try:
            written = max(each.lstat().st_mtime for each in (folder, *folder.rglob("*")))
        except FileNotFoundError:  # its process is still writing
            return False
        return free(self._locks / name) and file_time(self.temporary) - written > _ABANDONED


def _delete(place: Path) -> None:
    """Delete a file or folder; of a symbolic link, only the link."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _check_rebuilt(pruned: Path, made: Path) -> None:
    """Check that a pruned artefact that was rebuilt has the same content as before.

    Raises:
        StoppedError: a file differs.
    """
    if not (pruned / PRUNED).is_file():
        return
    before = json.loads((pruned / PRUNED).read_text())["files"]
    now = json.loads((made / MANIFEST).read_text())["files"]
    changed = sorted(name for name in before if before[name] != now.get(name))
    if changed:
        raise StoppedError(
            f"{pruned.name} was rebuilt with different content: {', '.join(changed)} differ",
            "its scores belong to the old weights; resume on the kind of machine and with the "
            "library versions that made them (environment.json)",
        )


def manifest_of(folder: Path) -> dict[str, Any]:
    """Size and sha256 of every file below `folder`, by relative path."""
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in _files(folder)
    }
    return {"files": files}


def _files(folder: Path) -> list[Path]:
    """The files that belong in a manifest, without temporary files of killed writers."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if path.name != MANIFEST and path.suffix != ".tmp"]


def problems(folder: Path, *, deep: bool) -> list[str]:
    """The defects of an artefact; empty if it is intact.

    Args:
        deep: also hash every file and compare, not only the sizes.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        listed = {name: (int(item["size"]), str(item["sha256"])) for name, item in files.items()}
    except FileNotFoundError:
        return [f"{folder}: no manifest" if folder.exists() else f"{folder}: missing"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [f"{folder / MANIFEST}: not readable"]
    found = [f"{folder}: a link"] if folder.is_symlink() else []
    if deep:
        present = {path.relative_to(folder).as_posix() for path in _files(folder)}
        found += [f"{folder / name}: not in the manifest" for name in sorted(present - {*listed})]
    for name, (size, digest) in listed.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            found.append(f"{path}: missing")
        elif path.stat().st_size != size:
            found.append(f"{path}: has {path.stat().st_size} bytes, expected {size}")
        elif deep and sha256(path) != digest:
            found.append(f"{path}: its content has changed since it was written")
    return found


def read_checked(folder: Path, name: str) -> bytes:
    """The content of a small file of an artefact, checked against its sha256.

    Raises:
        DamagedError: the content has changed.
    """
    data = (folder / name).read_bytes()
    expected = json.loads((folder / MANIFEST).read_text())["files"][name]["sha256"]
    if hashlib.sha256(data).hexdigest() != expected:
        raise DamagedError(
            f"{folder / name}: its content has changed since it was written",
            f"delete {folder}; it is then built again",
        )
    return data


def sha256(path: Path) -> str:
    """The sha256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
