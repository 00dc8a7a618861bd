"""Sees every change that a driver makes below a folder, from inside its process.

Python's own functions are replaced: no tracer is needed, and a write can be torn in its middle. A
lock is held around each change, so that the order of the log is the order on the disk.
"""

from __future__ import annotations

import base64
import builtins
import io
import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from evomerge.store.journal import Journal, JournalContent

T = TypeVar("T")
Kind = Literal[
    "create", "write", "truncate", "fsync", "rename", "mkdir", "unlink", "rmdir", "symlink",
    "committed",
]  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One change.

    Attributes:
        path: what is changed, relative to the watched folder.
        data: what is written.
        place: the offset of a write, the length of a truncation.
        target: where a rename or a symlink leads to; the number of entries that are committed.
    """

    kind: Kind
    path: str
    data: bytes = b""
    place: int = 0
    target: str = ""

    def to_json(self) -> str:
        """As one line."""
        data = base64.b64encode(self.data).decode()
        return json.dumps([self.kind, self.path, data, self.place, self.target])

    @classmethod
    def from_json(cls, line: str) -> Operation:
        """Read what `to_json` wrote."""
        kind, path, data, place, target = json.loads(line)
        return cls(kind, path, base64.b64decode(data), place, target)


@dataclass
class _Watch:
    """What is watched, and what is to happen at which change."""

    root: str
    kill_at: int | None
    torn: bool
    only: str
    log: IO[str] | None
    lock: Any = field(default_factory=threading.RLock)
    count: int = 0

    def inside(self, path: str) -> bool:
        return path == self.root or path.startswith(self.root + "/")

    def relative(self, path: str) -> str:
        return os.path.relpath(path, self.root) if self.inside(path) else path


_watch: _Watch | None = None


def watch(
    root: str,
    kill_at: int | None = None,
    torn: bool = False,
    only: str = "",
    log: str | None = None,
) -> None:
    """Watch this process from now on.

    Args:
        root: the folder whose changes count.
        kill_at: SIGKILL in the place of this change, counted from 1.
        torn: if that change is a write, its first half is written.
        only: changes of paths that end so are counted.
        log: a file to which every change is appended.
    """
    global _watch  # noqa: PLW0603 - one process, one watch
    file = _io_open(log, "a", encoding="utf-8") if log else None
    _watch = _Watch(str(Path(root).resolve()), kill_at, torn, only, file)
    _replace_functions()


def finish() -> dict[str, int]:
    """Watch no more; the number of changes."""
    if _watch is None:
        return {}
    with _watch.lock:
        _watch.root = "\0"
        if _watch.log is not None:
            _watch.log.close()
    return {"changes": _watch.count}


def _do(make: Callable[[], Operation | None], act: Callable[[], T]) -> T:
    """Do `act`, the change that `make` describes, and log it."""
    if _watch is None:
        return act()
    with _watch.lock:
        change = make()
        if change is None:
            return act()
        if change.kind != "committed" and change.path.endswith(_watch.only):
            _watch.count += 1
            if _watch.count == _watch.kill_at:
                _tear(change)
                os.kill(os.getpid(), signal.SIGKILL)
        result = act()
        if _watch.log is not None:
            _watch.log.write(change.to_json() + "\n")
            _watch.log.flush()
        return result


def _tear(change: Operation) -> None:
    if _watch is not None and _watch.torn and change.kind == "write":
        descriptor = _open(os.path.join(_watch.root, change.path), os.O_WRONLY)  # noqa: PTH118
        _pwrite(descriptor, change.data[: len(change.data) // 2], change.place)


def _named(kind: Kind, path: str, **more: Any) -> Operation | None:
    """A change of `path` if it is watched."""
    if _watch is None or not _watch.inside(path):
        return None
    return Operation(kind, _watch.relative(path), **more)


def _absolute(path: Any, dir_fd: int | None = None) -> str:
    """The path with its folder resolved; the last part may be a link."""
    text = os.fsdecode(path)
    if dir_fd is not None:
        text = os.path.join(_path_of(dir_fd), text)  # noqa: PTH118
    folder, name = os.path.split(os.path.abspath(text))  # noqa: PTH100
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


_open, _write, _pwrite, _fsync = os.open, os.write, os.pwrite, os.fsync
_rename, _mkdir, _unlink, _rmdir = os.rename, os.mkdir, os.unlink, os.rmdir
_symlink, _ftruncate, _io_open = os.symlink, os.ftruncate, io.open


class _File(io.FileIO):
    """A file that tells what is written to it."""

    def write(self, data: Any) -> int:
        content = bytes(data)
        place = os.fstat(self.fileno()).st_size if "a" in self.mode else self.tell()
        path = _path_of(self.fileno())
        return _do(
            lambda: _named("write", path, data=content, place=place),
            lambda: super(_File, self).write(content),
        )


def _replace_functions() -> None:
    replacements: dict[str, Callable[..., Any]] = {
        "open": _os_open,
        "write": _os_write,
        "pwrite": _os_pwrite,
        "fsync": _os_fsync,
        "rename": _os_rename,
        "replace": _os_rename,
        "mkdir": _os_mkdir,
        "unlink": _os_unlink,
        "remove": _os_unlink,
        "rmdir": _os_rmdir,
        "symlink": _os_symlink,
        "ftruncate": _os_ftruncate,
    }
    for name, function in replacements.items():
        setattr(os, name, function)
    builtins.open = io.open = _opened
    _tell_commits()


def _opened(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any) -> Any:
    if isinstance(file, int) or not set(mode) & set("wax+"):
        return _io_open(file, mode, buffering, *more, **named)
    path = _absolute(file)
    if _named("write", path) is None:
        return _io_open(file, mode, buffering, *more, **named)
    raw = mode.replace("b", "").replace("t", "")
    change: Kind = "truncate" if os.path.exists(path) else "create"  # noqa: PTH110
    if change == "truncate" and "w" not in raw:
        opened = _File(path, raw)
    else:
        opened = _do(lambda: _named(change, path), lambda: _File(path, raw))
    if buffering == 0:
        return opened
    buffered = io.BufferedRandom(opened) if "+" in raw else io.BufferedWriter(opened)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, *more, **named)


def _os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    def describe() -> Operation | None:
        place = _absolute(path, dir_fd)
        if not flags & os.O_CREAT or os.path.exists(place):  # noqa: PTH110
            return None
        return _named("create", place)

    return _do(describe, lambda: _open(path, flags, mode, dir_fd=dir_fd))


def _os_write(descriptor: int, data: Any) -> int:
    content = bytes(data)

    def describe() -> Operation | None:
        path = _path_of(descriptor)
        if _watch is None or not _watch.inside(path):
            return None
        # Only the journal is written this way, and it is opened for appending.
        return _named("write", path, data=content, place=os.fstat(descriptor).st_size)

    return _do(describe, lambda: _write(descriptor, content))


def _os_pwrite(descriptor: int, data: Any, offset: int) -> int:
    content = bytes(data)
    return _do(
        lambda: _named("write", _path_of(descriptor), data=content, place=offset),
        lambda: _pwrite(descriptor, content, offset),
    )


def _os_fsync(descriptor: int) -> None:
    _do(lambda: _named("fsync", _path_of(descriptor)), lambda: _fsync(descriptor))


def _os_rename(source: Any, target: Any) -> None:
    def describe() -> Operation | None:
        to = _absolute(target)
        return _named("rename", _absolute(source), target=_watch.relative(to) if _watch else to)

    _do(describe, lambda: _rename(source, target))


def _os_mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    # An existing folder is refused by the system, and is no change.
    place = _absolute(path, dir_fd)
    if os.path.lexists(place):
        _mkdir(path, mode, dir_fd=dir_fd)
    _do(lambda: _named("mkdir", place), lambda: _mkdir(path, mode, dir_fd=dir_fd))


def _os_unlink(path: Any, *, dir_fd: int | None = None) -> None:
    _do(lambda: _named("unlink", _absolute(path, dir_fd)), lambda: _unlink(path, dir_fd=dir_fd))


def _os_rmdir(path: Any, *, dir_fd: int | None = None) -> None:
    _do(lambda: _named("rmdir", _absolute(path, dir_fd)), lambda: _rmdir(path, dir_fd=dir_fd))


def _os_symlink(source: Any, target: Any, *more: Any, **named: Any) -> None:
    _do(
        lambda: _named("symlink", _absolute(target), target=os.fsdecode(source)),
        lambda: _symlink(source, target, *more, **named),
    )


def _os_ftruncate(descriptor: int, length: int) -> None:
    _do(
        lambda: _named("truncate", _path_of(descriptor), place=length),
        lambda: _ftruncate(descriptor, length),
    )


def _tell_commits() -> None:
    """After an append returned, its entry must never be lost."""
    append, opened = Journal.append, Journal.__init__

    def tell(journal: Journal) -> None:
        count = str(journal._number)
        _do(lambda: _named("committed", str(journal.path.resolve()), target=count), lambda: None)

    def telling_append(self: Journal, entry: Any) -> None:
        append(self, entry)
        tell(self)

    def telling_open(self: Journal, path: Path, content: JournalContent) -> None:
        opened(self, path, content)
        tell(self)

    Journal.append = telling_append  # type: ignore[method-assign]
    Journal.__init__ = telling_open  # type: ignore[method-assign]
