"""The content-addressed store that all runs of a runs folder share.

An artefact is a folder that was made once and never changes: built aside, listed in a manifest
with sizes and sha256, synced, renamed into place. The folder's existence means nothing; the
manifest, which is written last, does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
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
WEIGHTS = (".safetensors", ".bin")
"""Suffixes of the files of a model that are pruned."""
_ABANDONED = 24 * 3600.0
"""Seconds without a sign of life after which another host's work is left over."""
_BLOCK = 1 << 22
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class Made:
    """An artefact at hand.

    Attributes:
        seconds: spent on making it, 0 when it was reused.
    """

    path: Path
    reused: bool
    seconds: float


class Store:
    """Artefacts below one folder, named by relative paths such as `models/<content id>`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._aside = root / "tmp"
        self._locks = root / "locks"
        self._trusted: set[str] = set()

    def path(self, name: str) -> Path:
        """Where the artefact `name` is or will be.

        Raises:
            DamagedError: a part of it is no plain file name; it was not evomerge that chose it.
        """
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise DamagedError(
                f"{name!r} is no name of an artefact: a journal was changed by hand",
                "restore the journal from a backup",
            )
        return self.root / name

    def holds(self, name: str) -> bool:
        """Whether `name` is complete: its manifest is there and every file has its size."""
        return not problems(self.path(name), deep=False)

    def obtain(
        self,
        name: str,
        build: Callable[[Path], None],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Made:
        """The artefact `name`, built by `build(empty folder)` if it is not complete.

        Two processes that want one artefact at the same time make it once.

        Raises:
            StoppedError: `cancelled` said so while another process was making it.
        """
        make_folder(self.path(name).parent)
        make_folder(self._locks)
        with waiting(self._lock_of(name), cancelled):
            if self._believed(name):
                return Made(self.path(name), reused=True, seconds=0.0)
            started = time.monotonic()
            with self._aside_folder(name) as folder:
                reached("artefact.started")
                build(folder)
                reached("artefact.built")
                self._commit(folder, name)
            self._trusted.add(name)
            return Made(self.path(name), reused=False, seconds=time.monotonic() - started)

    def _believed(self, name: str) -> bool:
        """Whether `name` is whole; every byte is read once before it is used by this process."""
        if name in self._trusted:
            return self.holds(name)
        if problems(self.path(name), deep=True):
            return False
        settle(self.path(name), above=self.root.parent)
        self._trusted.add(name)
        return True

    @contextlib.contextmanager
    def _aside_folder(self, name: str) -> Iterator[Path]:
        make_folder(self._aside)
        maker = f"{socket.gethostname()}.{os.getpid()}"
        folder = self._aside / f"{name.replace('/', '--')}.{maker}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            with storage_faults(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _commit(self, folder: Path, name: str) -> None:
        write_atomic(folder / MANIFEST, json.dumps(manifest_of(folder), indent=1))
        reached("artefact.listed")
        sync_tree(folder)
        reached("artefact.synced")
        target = self.path(name)
        _compare(target, folder)
        # A damaged or pruned artefact is in the way; it must not be mixed with the new one.
        _clear(target)
        folder.rename(target)
        reached("artefact.renamed")
        sync_folder(target.parent)
        reached("artefact.durable")

    def prune(self, name: str, *suffixes: str) -> int:
        """Let the large files of an artefact go, those with one of `suffixes`; bytes freed.

        The manifest is renamed first: a kill in between leaves an artefact that is known to be
        incomplete, never one that seems whole.
        """
        folder = self.path(name)
        make_folder(self._locks)
        with waiting(self._lock_of(name)):
            if folder.is_symlink():
                return 0  # what it leads to is not ours
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
        """Delete an artefact for good."""
        with waiting(self._lock_of(name)):
            _clear(self.path(name))

    def _lock_of(self, name: str) -> Path:
        return self._locks / name.replace("/", "--")

    def sweep(self) -> int:
        """Remove what killed processes left aside; the number of folders removed.

        A process of this host is looked up. One of another host counts as killed when nobody holds
        the artefact's lock and nothing was written for a day.
        """
        refuse_links([self.root / each for each in ("models", "evaluations", "tmp", "locks")])
        removed = 0
        for folder in sorted(self._aside.glob("*--*")) if self._aside.is_dir() else ():
            if self._is_left_over(folder):
                shutil.rmtree(folder, ignore_errors=True)
                reached("sweep.removed")
                removed += 1
        return removed

    def _is_left_over(self, folder: Path) -> bool:
        rest, _, pid = folder.name.rpartition(".")
        if rest.endswith(f".{socket.gethostname()}") and pid.isdigit():
            return start_time(int(pid)) is None
        name = folder.name.partition(".")[0]
        try:
            written = max(each.lstat().st_mtime for each in (folder, *folder.rglob("*")))
        except FileNotFoundError:  # its maker is at work
            return False
        return free(self._locks / name) and file_time(self._aside) - written > _ABANDONED


def _clear(place: Path) -> None:
    """Remove whatever is at a place; a link goes, what it leads to stays."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _compare(pruned: Path, made: Path) -> None:
    """A pruned artefact that is made again must be what it was.

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
            f"{pruned.name} was made again and is not what it was: {', '.join(changed)} differ",
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
    """What a manifest lists: no stray of a writer that was killed."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if path.name != MANIFEST and path.suffix != ".tmp"]


def problems(folder: Path, *, deep: bool) -> list[str]:
    """What is wrong with an artefact; empty when it is whole.

    Args:
        deep: read every byte and compare its sha256 too, not only the sizes.
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
            found.append(f"{path}: {path.stat().st_size} bytes where {size} were written")
        elif deep and sha256(path) != digest:
            found.append(f"{path}: its content is not what was written")
    return found


def read_checked(folder: Path, name: str) -> bytes:
    """The content of a small file of an artefact, compared with its sha256.

    Raises:
        DamagedError: it is not what was written.
    """
    data = (folder / name).read_bytes()
    expected = json.loads((folder / MANIFEST).read_text())["files"][name]["sha256"]
    if hashlib.sha256(data).hexdigest() != expected:
        raise DamagedError(
            f"{folder / name}: its content is not what was written",
            f"delete {folder} to have it made again",
        )
    return data


def sha256(path: Path) -> str:
    """The sha256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
