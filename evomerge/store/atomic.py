"""Writes that survive a kill or a power cut: aside, fsync, rename, fsync of the folder.

A failed write or fsync is never tried again on the same file: after a failed fsync the kernel may
have dropped the data and report success the next time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from evomerge.domain.errors import DamagedError, StoppedError
from evomerge.store.faults import reached

STORAGE_FAULTS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "the disk reports an input/output error",
    errno.EROFS: "the file system became read-only",
}
"""Faults of the machine that stop a run; it can go on when they are mended."""


@contextlib.contextmanager
def storage_faults(path: Path) -> Iterator[None]:
    """Turn a full or failing disk below `path` into a stop that can be resumed.

    Raises:
        StoppedError: in the place of the OSError.
    """
    try:
        yield
    except OSError as error:
        what = STORAGE_FAULTS.get(error.errno or 0)
        if what is None:
            raise
        raise StoppedError(f"{what}: writing {path} failed; {free_space(path)}") from error


def free_space(path: Path) -> str:
    """How much is free where `path` is, for a message."""
    place = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    return f"{shutil.disk_usage(place).free / 1e9:.2f} GB are free there"


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace the file `path` by `data`: readers see the old or the new whole, never a part."""
    content = data.encode() if isinstance(data, str) else data
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_faults(path):
        try:
            with aside.open("wb") as file:
                reached("atomic.opened")
                file.write(content)
                file.flush()
                reached("atomic.written")
                os.fsync(file.fileno())
            reached("atomic.synced")
            aside.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
        reached("atomic.renamed")
        sync_folder(path.parent)


def sweep_aside(folder: Path, name: str = "*") -> None:
    """Remove what killed writers of `folder/name` left aside; nobody writes it now."""
    for path in folder.glob(f".{name}.*.tmp"):
        with storage_faults(path):
            path.unlink()
        reached("sweep.removed")


def refuse_links(places: Iterable[Path]) -> None:
    """Nothing is written through a link out of a run or a store.

    Raises:
        DamagedError: one of the `places` is a link.
    """
    for place in places:
        if place.is_symlink():
            raise DamagedError(
                f"{place} is a link; what evomerge writes stays in its own folders",
                "put in its place what it leads to, or delete the link; to keep runs on another "
                "disk, let the runs folder itself (run.dir) be there",
            )


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(path: Path, above: Path) -> None:
    """Make every name on the way from the folder `above` down to `path` durable.

    A process that was killed may have given a name and not synced it: whoever finds it must, before
    anything is recorded that rests on it.
    """
    for folder in reversed([each for each in path.parents if each.is_relative_to(above)]):
        with contextlib.suppress(PermissionError):  # not ours to read, so not ours to have named in
            sync_folder(folder)


def sync_tree(folder: Path) -> None:
    """Make every file and every name below `folder` durable."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Create `folder` and the missing folders above it, durably; an existing one is fine."""
    if folder.is_dir():
        _sync_name(folder)
        return
    make_folder(folder.parent)
    with storage_faults(folder):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _sync_name(folder: Path) -> None:
    """Make the name of an existing folder durable: its creator may have been killed before."""
    parent = folder.parent
    if parent.stat().st_dev != folder.stat().st_dev:
        return  # a mount point, which no process created here
    with storage_faults(folder), contextlib.suppress(PermissionError):
        sync_folder(parent)
