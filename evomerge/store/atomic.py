"""Durable writes that survive a kill or a power cut.

A file is written under a temporary name, synced and renamed, and its folder is synced. A failed
write or fsync is never retried on the same file: after a failed fsync the kernel may have dropped
the data and report success the next time.
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
"""Machine faults that stop a run; it can be resumed once they are fixed."""


@contextlib.contextmanager
def storage_faults(path: Path) -> Iterator[None]:
    """Turn an OSError of a full or failing disk into a StoppedError.

    Args:
        path: the file or folder being written, for the message.

    Raises:
        StoppedError: for the errors in `STORAGE_FAULTS`; others pass through.
    """
    try:
        yield
    except OSError as error:
        what = STORAGE_FAULTS.get(error.errno or 0)
        if what is None:
            raise
        raise StoppedError(f"{what}: writing {path} failed; {free_space(path)}") from error


def free_space(path: Path) -> str:
    """The free space on the disk of `path`, for messages."""
    place = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    return f"{shutil.disk_usage(place).free / 1e9:.2f} GB are free there"


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace the file `path` by `data`; readers see either the old or the new content."""
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


def sweep_temporary(folder: Path, name: str = "*") -> None:
    """Delete temporary files of killed writers of `folder/name`; no other process may write it."""
    for path in folder.glob(f".{name}.*.tmp"):
        with storage_faults(path):
            path.unlink()
        reached("sweep.removed")


def refuse_links(places: Iterable[Path]) -> None:
    """Refuse symbolic links, through which writes would leave a run or a store.

    Raises:
        DamagedError: one of the `places` is a symbolic link.
    """
    for place in places:
        if place.is_symlink():
            raise DamagedError(
                f"{place} is a symbolic link; evomerge writes only inside its own folders",
                "replace the link by its target, or delete it; to keep runs on another disk, set "
                "run.dir to a folder there",
            )


def sync_folder(folder: Path) -> None:
    """Sync the directory entries of `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(path: Path, above: Path) -> None:
    """Sync the directory entries from the folder `above` down to `path`.

    A killed process may have renamed a file and not synced the folder. Whoever finds the file must
    sync it before recording anything that depends on it.
    """
    for folder in reversed([each for each in path.parents if each.is_relative_to(above)]):
        with contextlib.suppress(PermissionError):  # not readable, so nothing was created by us
            sync_folder(folder)


def sync_tree(folder: Path) -> None:
    """Sync every file and directory entry below `folder`."""
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
    """Create `folder` and its missing parents durably; it may exist."""
    if folder.is_dir():
        _sync_name(folder)
        return
    make_folder(folder.parent)
    with storage_faults(folder):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _sync_name(folder: Path) -> None:
    """Sync the directory entry of a folder whose creator may have been killed before it did."""
    parent = folder.parent
    if parent.stat().st_dev != folder.stat().st_dev:
        return  # a mount point, which no process created here
    with storage_faults(folder), contextlib.suppress(PermissionError):
        sync_folder(parent)
