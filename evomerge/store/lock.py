"""Locks that end with their process: one driver per run, one builder per artefact.

The kernel releases a `flock` when its holder dies. Some network file systems (NFS, Lustre, GPFS)
grant it to everybody, so the file also names its holder: a holder on the same host is looked up by
pid and start time (which tells reused pids apart), one on another host is alive as long as its
heartbeat, the modification time of the file, is recent.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from evomerge.domain.errors import DamagedError, LockedError, StoppedError

HEARTBEAT = 10.0
"""Seconds between heartbeats; a holder on another host counts as dead after six missed ones."""

_TRIES = 10
_POLL = 0.05


@dataclass(frozen=True)
class Owner:
    """The holder of a lock.

    Attributes:
        started: start time of the process in clock ticks since boot; tells reused pids apart.
        since: local time, for messages.
    """

    host: str
    pid: int
    started: int
    since: str

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}, since {self.since}"

    @classmethod
    def myself(cls) -> Owner:
        """This process."""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(socket.gethostname(), os.getpid(), start_time(os.getpid()) or 0, since)

    @classmethod
    def of(cls, path: Path) -> Owner | None:
        """The holder named in the lock file; None if there is none."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def lives(self, path: Path) -> bool:
        """Whether the holder named in the lock file `path` is still running."""
        if self.host == socket.gethostname():
            return start_time(self.pid) == self.started
        return _age(path) < 6 * HEARTBEAT


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`, or fail at once.

    Raises:
        LockedError: another process holds it; names its host, pid and start time.
    """
    descriptor = _open(path, os.O_CREAT)
    try:
        taken = _take(descriptor)
        while taken and not _same_file(descriptor, path):
            # The previous holder deleted the file, so this descriptor locks nothing.
            os.close(descriptor)
            descriptor = _open(path, os.O_CREAT)
            taken = _take(descriptor)
        if not taken or _held_by_another(path):
            owner = Owner.of(path) or "unknown"
            raise LockedError(
                f"{what} is driven by another process ({owner})",
                "wait for it, or stop it first; `evomerge status` shows its progress",
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(Owner.myself())).encode(), 0)
        try:
            with _heartbeat(path):
                yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def waiting(path: Path, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold the lock file `path`, waiting for as long as needed.

    Raises:
        StoppedError: `cancelled` returned true while waiting.
    """
    descriptor = _open(path, os.O_CREAT)
    try:
        while not _try(descriptor, fcntl.LOCK_EX):
            if cancelled():
                raise StoppedError("the run was stopped")
            time.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """The current holder of the lock file `path`, for messages; None if it is not locked."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return None
    try:
        if _try(descriptor, fcntl.LOCK_SH) and not _held_by_another(path):
            return None
        return str(Owner.of(path) or "unknown")
    finally:
        os.close(descriptor)


def named_holder(path: Path) -> Owner | None:
    """The living holder that the lock file `path` names; None if there is none.

    For readers that leave a run untouched: nothing is locked, opened for writing or created. A
    holder on another host lives as long as its heartbeat is recent by the clock of this one.
    """
    owner = Owner.of(path)
    if owner is None:
        return None
    if owner.host == socket.gethostname():
        return owner if owner.lives(path) else None
    try:
        return owner if time.time() - path.stat().st_mtime < 6 * HEARTBEAT else None
    except OSError:
        return None


def _open(path: Path, flags: int = 0) -> int:
    """Open a lock file without following a symbolic link, whose target would be truncated."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o644)
    except OSError as error:
        if error.errno in {errno.EISDIR, errno.ELOOP}:
            raise DamagedError(f"{path} is not a lock file", "delete it") from error
        raise


def start_time(pid: int) -> int | None:
    """Start time of a process of this host in clock ticks since boot; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _take(descriptor: int) -> bool:
    """Try to lock; retries briefly, since `holder` locks for a moment to look."""
    for _ in range(_TRIES):
        if _try(descriptor, fcntl.LOCK_EX):
            return True
        time.sleep(_POLL)
    return False


def _try(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: the holder's heartbeat decides
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _held_by_another(path: Path) -> bool:
    """Whether another process holds the lock according to the file although flock was granted."""
    owner, me = Owner.of(path), Owner.myself()
    if owner is None or (owner.host, owner.pid, owner.started) == (me.host, me.pid, me.started):
        return False
    return owner.lives(path)


def free(path: Path) -> bool:
    """Whether the lock file `path` is not locked, as far as the file system can tell."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return True
    try:
        return _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def file_time(folder: Path) -> float:
    """Now by the clock of the file system of `folder`, which is the same for all hosts."""
    probe = folder / f".{socket.gethostname()}.{os.getpid()}.probe"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _age(path: Path) -> float:
    """Seconds since the last heartbeat."""
    return file_time(path.parent) - path.stat().st_mtime


@contextlib.contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(HEARTBEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
