"""Models on the hub: what a repository holds, the shapes of its tensors, its files.

The hub is asked by child processes (`hub_child`), which can be ended at any moment; whether and
when it is asked again is decided here. huggingface_hub reads HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE
and HF_TOKEN by itself.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evomerge.adapters.child import Child
from evomerge.adapters.hub_errors import IS_OFFLINE, Trouble
from evomerge.domain.errors import CandidateError, PreflightError, StoppedError
from evomerge.execution.pool import Pool, awaited, no_progress
from evomerge.kinship.errors import WeightFileError
from evomerge.kinship.headers import read_folder
from evomerge.ports import Operation, Progress

_CHILD = "evomerge.adapters.hub_child"
_KINDS = ("list", "headers", "fetch", "user", "upload")
_AT_A_TIME = 3  # large files
_SMALL = 10_000_000  # bytes
_LONGEST_REQUEST = 120.0  # seconds for anything but a file
_LONGEST_PAUSE = 60.0
_DAMAGED = 3  # times that a file may arrive damaged
_COMMIT = re.compile(r"[0-9a-f]{40}")

Told = Callable[[str], None]
Fetched = Callable[[str, int, int], None]
"""Called with the name of a file, its bytes so far, and all of its bytes."""


def _ignore(*told: object) -> None:
    """No-op callback."""


@dataclass(frozen=True)
class RemoteTensor:
    """One tensor of a model on the hub."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Listing:
    """A repository at one commit.

    Attributes:
        files: bytes of each file; of those in the cache where the hub was not asked.
        folder: of this commit in the cache of huggingface_hub; what was not fetched is not there.
        renamed: what the hub calls the repository now, if it has another name.
        asked: whether the hub told this.
    """

    repo: str
    commit: str
    files: Mapping[str, int]
    folder: Path
    renamed: str | None = None
    asked: bool = True

    def missing(self, names: Collection[str]) -> dict[str, int]:
        """The bytes of those of `names` that are not in the cache."""
        return {
            name: self.files.get(name, 0) for name in names if not (self.folder / name).exists()
        }


class UnreachableError(Exception):
    """The hub did not answer; the message says how, to follow "the hub"."""


class Patience:
    """Waits for a hub in trouble, for some seconds without progress in all, ever longer at a time.

    Args:
        told: callback with what is waited for.
        ending: set from another thread when there is nothing to wait for any more.
    """

    def __init__(self, seconds: float, told: Told, ending: threading.Event | None = None) -> None:
        self._seconds = seconds
        self._told = told
        self._ending = ending or threading.Event()
        self.renew()

    def renew(self) -> None:
        """There was progress."""
        self._moved, self._pause = time.monotonic(), 1.0

    def wait(self, met: Trouble) -> None:
        """Wait until the hub may be asked again.

        Raises:
            UnreachableError: it was waited for long enough.
        """
        left = self._seconds - (time.monotonic() - self._moved)
        if left <= 0:
            raise UnreachableError(met.text)
        pause = min(max(met.after or 0.0, self._pause), max(left, 1.0))
        self._told(f"the hub {met.text}: asked again in {pause:.0f} s ({left / 60:.0f} min left)")
        if self._ending.wait(pause):
            raise CandidateError("the hub is not asked any more")
        self._pause = min(2 * pause, _LONGEST_PAUSE)


class Hub:
    """Asks the hub, and fetches files into the cache of huggingface_hub.

    Args:
        patience: seconds without progress for which a hub in trouble is asked again. One that
            cannot be reached from the start is not waited for: there may be no network.
        log: file for what the child processes print.
        told: callback with what is waited for.
        fetched: callback with the progress of files, from any thread.
    """

    def __init__(
        self,
        patience: float = 0.0,
        log: Path = Path(os.devnull),
        told: Told = _ignore,
        fetched: Fetched = _ignore,
    ) -> None:
        self._ending = threading.Event()
        self._pool = Pool([Child(_CHILD, _KINDS, log, name="hub child") for _ in range(_AT_A_TIME)])
        self._waits = patience > 0
        self._patience = partial(Patience, patience, told, self._ending)
        self._fetched = fetched
        self._listings: dict[tuple[str, str | None], Listing] = {}
        self._reached = False
        self._silent = ""

    def listing(self, repo: str, revision: str | None) -> Listing:
        """The files of a repository; those in the cache where the hub cannot be asked.

        Raises:
            PreflightError: the model does not exist, this user may not read it, or the hub cannot
                be reached and nothing of it is in the cache.
            StoppedError: the hub answered before, and does not any more.
        """
        key = (repo, revision)
        if key not in self._listings:
            cached = cached_snapshot(repo, revision)
            if cached is not None and revision == cached.name and _has_weights(cached):
                return _of_cache(repo, cached)  # a commit never changes
            try:
                self._listings[key] = self._listed(repo, revision, wait=cached is None)
            except UnreachableError as error:
                if cached is None:
                    raise self._unavailable(error) from None
                self._listings[key] = _of_cache(repo, cached)
        return self._listings[key]

    def _listed(self, repo: str, revision: str | None, *, wait: bool) -> Listing:
        if self._silent and not (wait and self._waits and self._reached):
            raise UnreachableError(self._silent)
        asked = {"repo": repo, "revision": revision}
        operation = Operation(kind="list", arguments=asked, seconds=_LONGEST_REQUEST)
        try:
            told = self._ask(operation, wait=wait)
        except UnreachableError as error:
            self._silent = str(error)
            raise
        folder = Path(told["folder"])
        return Listing(repo, told["commit"], told["files"], folder, told["renamed"])

    def tensors(self, listing: Listing, files: Sequence[str]) -> dict[str, RemoteTensor]:
        """The tensors in safetensors files, from their headers: a few kilobytes each.

        Raises:
            UnreachableError: the hub was not asked for the listing, or does not answer now.
            PreflightError: a file cannot be read.
        """
        if not listing.asked:
            raise UnreachableError(self._silent)
        asked = {"repo": listing.repo, "revision": listing.commit, "files": list(files)}
        operation = Operation(kind="headers", arguments=asked, seconds=_LONGEST_REQUEST)
        found = self._ask(operation)["tensors"].items()
        return {name: RemoteTensor(dtype, tuple(shape)) for name, (dtype, shape) in found}

    def fetch(self, name: str, listing: Listing, files: Collection[str]) -> Path:
        """Have files of a repository in the cache; the folder of the snapshot.

        What arrived before an interruption is kept, and fetched no second time.

        Args:
            name: of the model, for `fetched`.

        Raises:
            PreflightError: a file does not exist or cannot be read, or there is no network.
            StoppedError: the hub answered before, and does not any more; or the disk is full.
        """
        missing = listing.missing(files)
        if missing and not listing.asked:
            first = min(missing)
            raise PreflightError(
                f"{first} is not in the hub's cache, and the hub {self._silent}", _REACH_IT
            )
        for file in sorted(missing):
            if missing[file] < _SMALL:
                self._file(name, listing, file)
        with ThreadPoolExecutor(_AT_A_TIME, "fetch") as threads:
            large = [file for file, size in missing.items() if size >= _SMALL]
            coming = [threads.submit(self._file, name, listing, file) for file in large]
            try:
                for each in coming:
                    awaited(each)
            except BaseException:
                self.close()
                raise
        return listing.folder

    def _file(self, name: str, listing: Listing, file: str) -> None:
        asked = {"repo": listing.repo, "revision": listing.commit, "file": file}
        try:
            self._ask(
                Operation(kind="fetch", arguments=asked),
                lambda done, total: self._fetched(f"{name} {file}", done, total),
            )
        except UnreachableError as error:
            raise self._unavailable(error) from None

    def user(self) -> str | None:
        """Who the hub takes this user for; None without a token. It is asked once.

        Raises:
            UnreachableError: it does not answer.
            PreflightError: it does not accept the token.
        """
        operation = Operation(kind="user", seconds=_LONGEST_REQUEST)
        name: str | None = self._ask(operation, wait=False)["name"]
        return name

    def upload(self, folder: Path, repo: str, *, private: bool) -> str:
        """Upload a model folder; the URL of the model. It can be repeated: what is there stays.

        Raises:
            PreflightError: this user has no write access.
            StoppedError: the hub did not answer, or not to the end.
        """
        asked = {"repo": repo, "private": private}
        operation = Operation(kind="upload", arguments=asked, inputs={"folder": folder})
        try:
            return str(self._ask(operation)["url"])
        except UnreachableError as error:
            raise self._unavailable(error) from None

    def close(self) -> None:
        """End the child processes; what they were fetching is kept."""
        self._ending.set()
        self._pool.close()

    def _ask(
        self, operation: Operation, progress: Progress = no_progress, *, wait: bool = True
    ) -> dict[str, Any]:
        """The answer of the hub, which is asked again for as long as `patience` says.

        Raises:
            UnreachableError: there was none.
        """
        if offline():
            raise UnreachableError(IS_OFFLINE)
        patience, damaged = self._patience(), 0

        def moving(done: int, total: int, host: str = "") -> None:
            patience.renew()
            progress(done, total)

        while True:
            try:
                answer = self._pool.run(operation, moving)
            except CandidateError as error:
                if self._ending.is_set():
                    raise
                raise PreflightError(f"the hub cannot be asked: {error.message}") from None
            if "trouble" not in answer:
                self._reached = True
                return answer
            met = Trouble(**answer["trouble"])
            damaged += met.damaged
            if not wait or (met.refused and not self._reached) or damaged == _DAMAGED:
                raise UnreachableError(met.text)
            self._reached |= not met.refused
            patience.wait(met)

    def _unavailable(self, error: UnreachableError) -> PreflightError | StoppedError:
        if self._reached:
            message = f"the hub {error}; what was fetched is kept"
            return StoppedError(message, "try again later with the same command")
        return PreflightError(
            f"neither a folder here nor in the hub's cache, and the hub {error}", _REACH_IT
        )


_REACH_IT = "check the spelling, HF_HOME and HF_HUB_OFFLINE, or try with network access"


def offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cached_snapshot(repo: str, revision: str | None) -> Path | None:
    """The folder of a model in the hub's cache, possibly incomplete; None if not cached."""
    from huggingface_hub import constants

    storage = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (storage / "refs" / commit).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
    folder = storage / "snapshots" / commit
    return folder if folder.is_dir() else None


def cache_folder() -> Path:
    """Where files of the hub are kept."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _has_weights(folder: Path) -> bool:
    if (folder / "adapter_model.safetensors").is_file():
        return True
    try:
        return bool(read_folder(folder))
    except WeightFileError:
        return False


def _of_cache(repo: str, folder: Path) -> Listing:
    files = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    return Listing(repo, folder.name, files, folder, asked=False)
