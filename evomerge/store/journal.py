r"""The journal: one event per line, appended and synced; the source of truth of a run.

A line is a JSON object whose last key is the CRC-32 of everything before it, ended by a newline:
`{"schema":1,"number":4,"at":1763.5,"event":{...},"crc":"89abcdef"}`.

The file is created with its first line, by a rename, so an empty journal is damaged, not new. A
kill can tear only the last line, which is cut before the next append. Damage before the last line
is refused, with the line number.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from pydantic_core import from_json

from evomerge.domain.errors import DamagedError, StoppedError
from evomerge.domain.state import Entry
from evomerge.store.atomic import storage_faults, sync_folder, write_atomic
from evomerge.store.faults import reached

SCHEMA = 1
_CRC = len(',"crc":"00000000"}')


@dataclass(frozen=True)
class JournalContent:
    """The content of a journal.

    Attributes:
        length: bytes up to the end of the last complete line.
        torn: bytes after it, left by a kill in the middle of an append.
    """

    entries: tuple[Entry, ...]
    length: int
    torn: int


def line_of(number: int, entry: Entry) -> bytes:
    """The journal line of the `number`th entry, counted from 0."""
    record = {
        "schema": SCHEMA,
        "number": number,
        "at": entry.at,
        "event": entry.event.model_dump(mode="json"),
    }
    body = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    checked = body[:-1].encode()
    return checked + f',"crc":"{zlib.crc32(checked):08x}"}}\n'.encode()


def read_journal(path: Path) -> JournalContent:
    """All entries of the journal at `path`; a torn last line is left out.

    Raises:
        DamagedError: a line before the torn tail is damaged, the file is empty or unreadable, or
            it was written by a newer evomerge.
    """
    try:
        data = path.read_bytes()
    except (IsADirectoryError, FileNotFoundError) as error:
        raise DamagedError(
            f"{path}: {error.strerror}, so the results of the run are unknown",
            "restore the file from a backup; nothing was changed",
        ) from error
    length = data.rfind(b"\n") + 1
    lines = data[:length].split(b"\n")[:-1]
    if not lines:
        raise DamagedError(
            f"{path}: the journal has no complete line, so the results of the run are unknown",
            "restore the file from a backup, or start a new run under another name: "
            "everything in the store is reused",
        )
    entries = tuple(_parse(path, number, line) for number, line in enumerate(lines))
    return JournalContent(entries, length, len(data) - length)


def _parse(path: Path, number: int, line: bytes) -> Entry:
    record = _checked(path, number, line)
    schema = record.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise DamagedError(
            f"{path}: written by a newer evomerge (journal schema {schema}, this one reads "
            f"up to {SCHEMA})",
            "upgrade evomerge to resume this run",
        )
    try:
        if record.get("number") != number:
            raise ValueError(f"entry {record.get('number')}, expected {number}")
        return Entry.model_validate({"at": record["at"], "event": record["event"]})
    except (KeyError, ValueError, ValidationError) as error:
        raise _damaged(path, number, str(error).splitlines()[0]) from error


def _checked(path: Path, number: int, line: bytes) -> dict[str, Any]:
    body, tail = line[:-_CRC], line[-_CRC:]
    if tail != f',"crc":"{zlib.crc32(body):08x}"}}'.encode():
        raise _damaged(path, number, "its checksum is wrong")
    try:
        record = from_json(body + b"}")
    except ValueError as error:
        raise _damaged(path, number, "it is not JSON") from error
    if not isinstance(record, dict):
        raise _damaged(path, number, "it is not a record")
    return record


def _damaged(path: Path, number: int, why: str) -> DamagedError:
    return DamagedError(
        f"{path}:{number + 1}: the journal is damaged here: {why}",
        "restore the file from a backup; nothing was changed",
    )


class Tail:
    """Follows a journal that another process writes; read-only, without the lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = self._number = 0
        self._inode: int | None = None

    def read(self) -> tuple[Entry, ...]:
        """The entries added since the last call; an incomplete last line is left for the next one.

        Raises:
            DamagedError: a line is damaged, or the journal was deleted or replaced.
        """
        try:
            with self._path.open("rb") as file:
                inode, size = os.fstat(file.fileno()).st_ino, os.fstat(file.fileno()).st_size
                if self._inode not in {None, inode} or size < self._offset:
                    raise DamagedError(
                        f"{self._path}: replaced by another journal", "restart the command"
                    )
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            if self._inode is None:
                return ()
            raise DamagedError(f"{self._path} is gone", "restart the command") from None
        self._inode = inode
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        first = self._number
        entries = tuple(_parse(self._path, first + n, line) for n, line in enumerate(lines))
        self._offset += len(whole)
        self._number += len(lines)
        return entries


class Journal:
    """Appends to a journal; the caller holds the run's lock."""

    def __init__(self, path: Path, content: JournalContent) -> None:
        """Continue a journal that was read under the lock; cuts its torn tail."""
        self.path = path
        self._number = len(content.entries)
        self._broken = False
        with storage_faults(path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            if content.torn:
                os.ftruncate(self._descriptor, content.length)
                reached("journal.torn_tail_cut")
            # What was read may not have been synced by a killed writer.
            os.fsync(self._descriptor)
            sync_folder(path.parent)

    @classmethod
    def create(cls, path: Path, first: Entry) -> Self:
        """Create a journal with its first entry."""
        write_atomic(path, line_of(0, first))
        reached("journal.created")
        return cls(path, read_journal(path))

    def append(self, entry: Entry) -> None:
        """Append an entry; it is durable on return.

        Raises:
            StoppedError: the disk is full or failing. Later appends fail too, since it is unknown
                how much reached the disk until the journal is reopened.
        """
        if self._broken:
            raise StoppedError(f"{self.path}: an earlier write failed, so nothing more is recorded")
        line = memoryview(line_of(self._number, entry))
        self._broken = True
        with storage_faults(self.path):
            reached("journal.before_write")
            while line:
                line = line[os.write(self._descriptor, line) :]
            reached("journal.written")
            os.fsync(self._descriptor)
        reached("journal.synced")
        self._broken = False
        self._number += 1

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
