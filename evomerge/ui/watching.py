"""The runs of a folder as they are now, read without locking, creating or changing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from evomerge.domain.errors import DamagedError
from evomerge.domain.state import Entry, RunState, apply
from evomerge.store.journal import Tail
from evomerge.store.lock import Owner, named_holder
from evomerge.store.progress_file import Underway, read_progress
from evomerge.store.run_directory import RunDirectory, list_runs
from evomerge.views.run import Phase, phase_of


class _Stamp(NamedTuple):
    inode: int
    size: int
    changed: int


@dataclass(frozen=True)
class Seen:
    """A run at one moment.

    Attributes:
        entries: its journal, shared with later moments: only the first `length` are of this one.
        holder: the process that drives it; None if there is none.
        underway: the work in progress.
        damage: why the journal could not be read to its end; None if it could.
    """

    run: RunDirectory
    state: RunState
    entries: Sequence[Entry]
    length: int
    holder: Owner | None = None
    underway: tuple[Underway, ...] = ()
    damage: str | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def phase(self) -> Phase:
        """Whether the run is running, finished or stopped, or its journal is damaged."""
        running, damaged = self.holder is not None, self.damage is not None
        return phase_of(self.state, running=running, damaged=damaged)

    @property
    def version(self) -> str:
        """A text that changes with everything that is shown of the run."""
        done = sum(task.done for task in self.underway)
        return f"{self.phase}-{self.length}-{len(self.underway)}-{done}"


class Follower:
    """Follows one run; every look reads what was appended since the last. Thread-safe."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._lock = Lock()
        self._stamp: _Stamp | None = None
        self._damage: str | None = None
        self._start_over()

    def look(self) -> Seen:
        """The run as it is now."""
        with self._lock:
            stamp = _stamp(self._run.journal)
            if stamp != self._stamp:
                if stamp and self._stamp and stamp.size <= self._stamp.size:
                    self._start_over()  # changed, and not by an append
                self._read()
                self._stamp = stamp
            if stamp is None:
                self._damage = f"{self._run.journal} is gone"
            finished = self._state.finished
            holder = None if finished else named_holder(self._run.path / "lock")
            underway = () if holder is None else read_progress(self._run.progress)[1]
            return Seen(
                self._run,
                self._state,
                self._entries,
                len(self._entries),
                holder,
                underway,
                self._damage,
            )

    def _start_over(self) -> None:
        self._tail = Tail(self._run.journal)
        self._entries: list[Entry] = []
        self._state = RunState()

    def _read(self) -> None:
        """Read on; from the beginning, where the journal was replaced by another one."""
        self._damage = None
        try:
            self._apply(self._tail.read())
        except (DamagedError, ValueError, OSError):
            self._start_over()
            try:
                self._apply(self._tail.read())
            except DamagedError as error:
                self._damage = error.message
            except (ValueError, OSError) as error:
                self._damage = f"{self._run.journal}: {error}"

    def _apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._state = apply(self._state, entry)
            self._entries.append(entry)


class RunsFolder:
    """All runs below a folder, by name; a run that is gone is forgotten. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._followers: dict[str, Follower] = {}

    def runs(self) -> list[Seen]:
        """All runs as they are now, sorted by name."""
        there = {run.name: run for run in list_runs(self.path)}
        with self._lock:
            self._followers = {
                name: self._followers.get(name) or Follower(run) for name, run in there.items()
            }
            followers = [*self._followers.values()]
        return [follower.look() for follower in followers]

    def run(self, name: str) -> Seen | None:
        """The run `name` as it is now; None if there is none."""
        with self._lock:
            follower = self._followers.get(name)
        if follower is None:
            return next((seen for seen in self.runs() if seen.name == name), None)
        return follower.look()

    def version(self) -> str:
        """A text that changes whenever something of any run does."""
        return "/".join(f"{seen.name}:{seen.version}" for seen in self.runs())


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
