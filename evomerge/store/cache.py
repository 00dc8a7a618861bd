"""A cache of results of child processes: which recipes mergekit accepts, what a task measures.

An entry is stored under the digest of everything that it depends on, with a checksum over key and
entry; if the checksum does not match, the entry counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evomerge.domain.identity import canonical_json
from evomerge.store.atomic import make_folder, write_atomic

FORMAT = 1


class Cache:
    """Entries in one folder, one file each; the folder can be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The entry under `key`; None if it is missing or damaged."""
        path = self._path(key)
        if path.is_symlink():
            return None
        try:
            kept = json.loads(path.read_bytes())
            entry: dict[str, Any] = kept["answer"]
            whole = kept["format"] == FORMAT and kept["sum"] == _sum(key, entry)
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return entry if whole else None

    def put(self, key: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
        """Store `entry` under `key`; write errors are ignored."""
        content = {"format": FORMAT, "sum": _sum(key, entry), "answer": entry}
        with contextlib.suppress(OSError):
            make_folder(self._folder)
            write_atomic(self._path(key), json.dumps(content))

    def drop(self, key: Mapping[str, Any]) -> None:
        """Delete the entry under `key`."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: Mapping[str, Any]) -> Path:
        return self._folder / f"{_digest(key)[:32]}.json"


def _sum(key: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    return _digest({"key": dict(key), "answer": dict(entry)})


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
