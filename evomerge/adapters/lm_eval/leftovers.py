"""Cleans up after killed engines: temporary files and shared memory.

A process that starts engines has a temporary folder of its own and holds a lock in it. The kernel
releases the lock when the process dies, so a folder whose lock is free can be deleted.
"""

from __future__ import annotations

import atexit
import fcntl
import getpass
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "evomerge-vllm-"
_LOCK = "lock"
_SEGMENTS = "segments"
_INTERVAL = 0.5  # seconds between two looks at what an engine that starts uses
_MEMORY = Path("/dev/shm")  # noqa: S108, where Linux keeps named shared memory
_NAMES = ("psm_", "vllm_dist_", "sem.loky-")
"""Prefixes of segments: of Python's `multiprocessing`, of vLLM on a CPU, of loky's semaphores."""


def own_folder() -> Path:
    """Create a temporary folder that this process and its children use from now on.

    Folders of dead processes are deleted, with the segments of shared memory that they noted.
    """
    place = Path(tempfile.gettempdir())
    for old in place.glob(f"{_PREFIX}*"):
        _sweep(old)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    # Locked before it gets the name that other processes search for; never closed.
    held = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    (folder / ".lock").rename(folder / _LOCK)
    atexit.register(_remove, folder)
    # What torch compiles is kept for later processes.
    os.environ.setdefault(
        "TORCHINDUCTOR_CACHE_DIR", str(place / f"torchinductor_{getpass.getuser()}")
    )
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    return folder


@contextmanager
def noting(folder: Path) -> Iterator[None]:
    """Note what is used meanwhile: a process that fails to start leaves what it had by then."""
    over = threading.Event()

    def note() -> None:
        while not over.wait(_INTERVAL):
            note_segments(folder)

    thread = threading.Thread(target=note, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        note_segments(folder)


def note_segments(folder: Path) -> None:
    """Write down the segments of shared memory that this process group uses, and did before."""
    group, names = os.getpgid(0), _noted(folder)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getpgid(int(process.name)) == group:
                names |= _mapped((process / "maps").read_text(encoding="utf-8"))
    (folder / _SEGMENTS).write_text("".join(f"{name}\n" for name in sorted(names)), "utf-8")


def _mapped(maps: str) -> set[str]:
    """The names of the segments in a process's list of mapped files."""
    paths = (Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if "/" in line)
    return {path.name for path in paths if path.parent == _MEMORY and _ours(path.name)}


def _noted(folder: Path) -> set[str]:
    with suppress(OSError):
        return set(filter(_ours, (folder / _SEGMENTS).read_text("utf-8").splitlines()))
    return set()


def _ours(name: str) -> bool:
    return name.startswith(_NAMES) and "/" not in name


def _sweep(folder: Path) -> None:
    """Remove the folder of a dead process."""
    with suppress(OSError):  # somebody else's, in use, or swept by another process
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)


def _remove(folder: Path) -> None:
    for name in _noted(folder):
        with suppress(OSError):
            (_MEMORY / name).unlink()
    shutil.rmtree(folder, ignore_errors=True)
