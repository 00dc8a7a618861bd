"""What a killed engine leaves behind, found by the next one: temporary files and shared memory.

A process that starts engines has a temporary folder of its own and holds a lock in it. The kernel
releases the lock with its holder, so a folder whose lock can be taken belongs to nobody any more.
"""

from __future__ import annotations

import atexit
import fcntl
import getpass
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "evomerge-vllm-"
_LOCK = "lock"
_SEGMENTS = "segments"
_MEMORY = Path("/dev/shm")  # noqa: S108, where Linux keeps named shared memory
_NAME = "psm_"
"""What Python's `multiprocessing.shared_memory` calls its segments."""


def own_folder() -> Path:
    """A new temporary folder that this process, and what it starts, uses from now on.

    Folders of processes that are dead go, and so do the segments of memory that they noted.
    """
    place = Path(tempfile.gettempdir())
    for old in place.glob(f"{_PREFIX}*"):
        _sweep(old)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    # Locked before it has the name by which others look for it; open for as long as we live.
    held = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    (folder / ".lock").rename(folder / _LOCK)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # What torch compiles is for the next process, too.
    os.environ.setdefault(
        "TORCHINDUCTOR_CACHE_DIR", str(place / f"torchinductor_{getpass.getuser()}")
    )
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    return folder


def note_segments(folder: Path) -> None:
    """Write down the segments of shared memory that this process group uses."""
    group = os.getpgid(0)
    names = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getpgid(int(process.name)) == group:
                names |= _mapped((process / "maps").read_text(encoding="utf-8"))
    (folder / _SEGMENTS).write_text("".join(f"{name}\n" for name in sorted(names)), "utf-8")


def _mapped(maps: str) -> set[str]:
    """The names of the segments in a process's list of mapped files."""
    paths = (Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if "/" in line)
    return {path.name for path in paths if path.parent == _MEMORY and path.name.startswith(_NAME)}


def _sweep(folder: Path) -> None:
    with suppress(OSError):  # somebody else's, or another process is sweeping it
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            noted = folder / _SEGMENTS
            for name in noted.read_text("utf-8").split() if noted.is_file() else ():
                segment = _MEMORY / Path(name).name
                if segment.name.startswith(_NAME) and segment.is_file():
                    segment.unlink()
            shutil.rmtree(folder)
