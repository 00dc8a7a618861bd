"""Cache of file checks that read every byte: SHA-256, and whether all weights are finite.

Weights are large, so each file is read once. The cache can be deleted at any time. An entry is
valid while a file's size, modification time and inode are unchanged. The cache has a checksum: a
flipped bit in it would change the id of a foundation model.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from evomerge.adapters.finite import first_not_finite
from evomerge.domain.errors import PreflightError
from evomerge.kinship.headers import StoredTensor
from evomerge.store.atomic import write_atomic

T = TypeVar("T")
Key = tuple[int, int, int]
_FORMAT = 2
_READERS = 4


class FileChecks:
    """The cache in one JSON file; missing entries are computed from the files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        self._sums: dict[str, tuple[Key, str]] = {}
        self._finite: dict[str, Key] = {}
        self._load()

    def sha256(self, files: Sequence[Path]) -> dict[Path, str]:
        """The SHA-256 of each file, in hex."""
        return dict(zip(files, _in_parallel(self._sum, files), strict=True))

    def not_finite(self, weights: Iterable[StoredTensor]) -> str | None:
        """The name of the first tensor with NaN or infinity, in the order of the files."""
        by_file: dict[Path, list[StoredTensor]] = {}
        for tensor in weights:
            by_file.setdefault(tensor.file, []).append(tensor)
        found = _in_parallel(lambda file: self._scan(file, by_file[file]), sorted(by_file))
        return next((name for name in found if name is not None), None)

    def save(self) -> None:
        """Write the cache; concurrent writers may lose entries, which only costs time.

        Raises:
            PreflightError: the file cannot be written.
        """
        if not self._changed:
            return
        files = {
            "sha256": {name: [*key, digest] for name, (key, digest) in self._sums.items()},
            "finite": {name: list(key) for name, key in self._finite.items()},
        }
        content = {"format": _FORMAT, "crc": _crc(files), "files": files}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(content, indent=0))
        except OSError as error:
            raise PreflightError(
                f"{self._path} cannot be written: {error.strerror}", "delete it, or fix its folder"
            ) from error
        self._changed = False

    def _load(self) -> None:
        try:
            content = json.loads(self._path.read_bytes())
            files = content["files"]
            if content["format"] != _FORMAT or content["crc"] != _crc(files):
                return
            self._sums = {
                name: ((size, time, inode), digest)
                for name, (size, time, inode, digest) in files["sha256"].items()
            }
            self._finite = {
                name: (size, time, inode) for name, (size, time, inode) in files["finite"].items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return

    def _sum(self, file: Path) -> str:
        key = _key(file)
        known = self._sums.get(str(file))
        if known is not None and known[0] == key:
            return known[1]
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self._sums[str(file)] = (key, digest)
        self._changed = True
        return digest

    def _scan(self, file: Path, tensors: Sequence[StoredTensor]) -> str | None:
        key = _key(file)
        if self._finite.get(str(file)) == key:
            return None
        found = first_not_finite(file, tensors)
        if found is None:
            self._finite[str(file)] = key
            self._changed = True
        return found


def _in_parallel(work: Callable[[Path], T], files: Sequence[Path]) -> list[T]:
    with ThreadPoolExecutor(max_workers=_READERS) as pool:  # hashlib and numpy release the GIL
        return list(pool.map(work, files))


def _key(file: Path) -> Key:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _crc(files: object) -> str:
    return f"{zlib.crc32(json.dumps(files, sort_keys=True).encode()):08x}"
