"""The folder of one run: its config, journal, lock, logs, checkpoints and links to weights."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evomerge.config import runs_folder
from evomerge.configfile import load
from evomerge.domain.errors import DamagedError, UsageError
from evomerge.domain.events import RunStarted
from evomerge.domain.state import Entry
from evomerge.store.atomic import make_folder, refuse_links, settle, write_atomic
from evomerge.store.faults import reached
from evomerge.store.journal import Journal, JournalContent, read_journal
from evomerge.store.lock import exclusive, holder

STORE_FOLDER = "store"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class RunDirectory:
    """The paths of a run; constructing one creates nothing."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: the last part of its path."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """The journal, the run's source of truth."""
        return self.path / "journal.jsonl"

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Library versions and hardware at the start."""
        return self.path / "environment.json"

    @property
    def generations(self) -> Path:
        """Readable checkpoints, one per generation."""
        return self.path / "generations"

    @property
    def models(self) -> Path:
        """Symbolic links into the store, by model name."""
        return self.path / "models"

    @property
    def progress(self) -> Path:
        """Progress of running tasks; exists while a driver runs."""
        return self.path / "progress.json"

    @property
    def logs(self) -> Path:
        """Output of the child processes."""
        return self.path / "logs"

    @property
    def store(self) -> Path:
        """The store, shared with the other runs of the runs folder."""
        return self.path.parent / STORE_FOLDER

    @property
    def exists(self) -> bool:
        """Whether a run was started here, even if its journal cannot be read."""
        return os.path.lexists(self.journal)

    def command(self, name: str, *words: str) -> str:
        """The command line `evomerge <name> <run> <words>` that works in the current folder."""
        runs = self.path.parent
        elsewhere = [] if runs.resolve() == runs_folder().resolve() else ["--dir", str(runs)]
        return shlex.join(["evomerge", name, self.name, *words, *elsewhere])

    def read(self) -> list[Entry]:
        """All entries of the journal, without the lock; a torn tail is left out.

        Raises:
            DamagedError: the journal is damaged.
        """
        return list(self.content().entries)

    def content(self) -> JournalContent:
        """The content of the journal; raises as `read`."""
        content = read_journal(self.journal)
        return replace(content, entries=tuple(self.named(content.entries)))

    def named(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries with the run's name: it is its folder's, which can be renamed or copied."""
        for entry in entries:
            event = entry.event
            if isinstance(event, RunStarted) and event.name != self.name:
                event = event.model_copy(update={"name": self.name})
                yield entry.model_copy(update={"event": event})
            else:
                yield entry

    def holder(self) -> str | None:
        """The process that drives the run now, for messages; None if there is none."""
        return holder(self.path / "lock")

    @contextlib.contextmanager
    def driven(self) -> Iterator[None]:
        """Hold the run's lock.

        Raises:
            LockedError: another process drives the run.
        """
        make_folder(self.path)
        with self.locked():
            reached("lock.taken")
            try:
                settle(self.journal, above=self.path.parent.parent)
                yield
            finally:
                if not self.exists:
                    self._delete_traces()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of an existing run, which may be moved away meanwhile.

        Raises:
            LockedError: another process drives the run.
        """
        with exclusive(self.path / "lock", f"run {self.name}"):
            yield

    def _delete_traces(self) -> None:
        """Delete the traces of a run that could not start; files of the user stay."""
        shutil.rmtree(self.logs, ignore_errors=True)
        self.progress.unlink(missing_ok=True)
        (self.path / "lock").unlink()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def start(self, first: Entry, config: str, environment: dict[str, Any]) -> Journal:
        """Create the files of a new run, the journal last: a run exists when its journal does."""
        for folder in (self.generations, self.models, self.logs):
            make_folder(folder)
        write_atomic(self.config, config)
        write_atomic(self.environment, json.dumps(environment, indent=1) + "\n")
        reached("run.laid_out")
        return Journal.create(self.journal, first)

    def check(self) -> None:
        """Check that the content of the folder can be a run's; the caller holds the lock.

        Raises:
            DamagedError: a part is a symbolic link, or the journal is gone and its results are not.
        """
        parts = (self.journal, self.config, self.environment, self.generations, self.models)
        refuse_links((*parts, self.logs))
        if not self.exists and self.has_traces:
            raise DamagedError(
                f"{self.journal} is gone, and with it the results of run {self.name}",
                "restore the file from a backup, or delete the folder to start over: everything "
                "in the store is reused",
            )

    @property
    def has_traces(self) -> bool:
        """Whether the folder has checkpoints or links to models."""
        links = self.models.iterdir() if self.models.is_dir() else ()
        checkpoints = self.generations.glob("[0-9]*.yaml")
        return any(checkpoints) or any(link.is_symlink() for link in links)

    def link(self, name: str, content_id: str) -> None:
        """Create `models/<name>`, a relative link into the store: the runs folder can be moved."""
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(content_id):
            raise DamagedError(
                f"{name!r} is not the name of a model: the journal was edited by hand",
                "restore the journal from a backup",
            )
        place = self.models / name
        target = Path("../..") / STORE_FOLDER / "models" / content_id
        if place.is_symlink() and place.readlink() == target:
            return
        if place.exists() and not place.is_symlink():
            raise DamagedError(f"{place} blocks the link to a model", "delete it")
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        reached("link.made")


def list_runs(runs_dir: Path) -> list[RunDirectory]:
    """All runs below a runs folder, sorted by name."""
    if not runs_dir.is_dir():
        return []
    folders = [path for path in sorted(runs_dir.iterdir()) if path.is_dir()]
    runs = (RunDirectory(path) for path in folders if path.name != STORE_FOLDER)
    return [run for run in runs if run.exists or run.has_traces]


def places_of(run: str, runs_dir: Path) -> tuple[Path, ...]:
    """Where the run `run` can be, in order: a config file tells, else it is a name or a folder.

    A run's own copy of its config stands for the run whose folder it is in, wherever that is.

    Raises:
        ConfigError: the config file is invalid.
    """
    owner = RunDirectory(Path(run).absolute().parent)
    if Path(run).name == owner.config.name and "\0" not in run and owner.exists:
        return (owner.path,)
    if Path(run).suffix in {".yaml", ".yml"} and Path(run).is_file():
        own = load(Path(run)).run
        return (own.dir / own.name,)
    return runs_dir / run, Path(run)


def find_run(run: str, runs_dir: Path) -> RunDirectory:
    """The run named `run` below `runs_dir`, the one in the folder `run`, or that of a config file.

    A run whose journal is gone is found too; reading it raises.

    Raises:
        UsageError: there is none; suggests the closest name.
        ConfigError: the config file is invalid.
    """
    for path in places_of(run, runs_dir):
        found = RunDirectory(path)
        if found.exists or found.has_traces:
            return RunDirectory(path.resolve())
    names = [known.name for known in list_runs(runs_dir)]
    near = difflib.get_close_matches(run, names, n=1)
    raise UsageError(
        f"no run named {run!r} below {runs_dir}/",
        f"did you mean {near[0]!r}?"
        if near
        else f"runs there: {', '.join(names) or 'none'}; --dir names another runs folder",
    )
