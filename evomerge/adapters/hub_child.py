"""The child's side of `evomerge.adapters.hub`: one request of the hub, or one file, at a time.

A download can be ended at any moment by ending this process. huggingface_hub 2.x starts a file anew
after each interruption, waits for answers without a limit and does not compare checksums, so files
are fetched here: into the layout of its cache (blobs by ETag, snapshots by commit), resumed where
they ended, and checked against the ETag, which is the SHA-256 of a large file and the git id of a
small one. Everything else is huggingface_hub's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_session,
    get_token,
    hf_hub_url,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from evomerge.adapters.hub_errors import DamagedFileError, ask, bound_waiting, refusal, trouble
from evomerge.adapters.serve import Do
from evomerge.ports import Operation, Progress
from evomerge.store.atomic import STORAGE_FAULTS

_CHUNK = 1 << 20
_SHA256 = 64  # hexadecimal digits
_UPLOAD_READ = 300.0  # seconds that storage may take to put the parts of a large file together


def _answering(request: Callable[[Operation, Progress], dict[str, Any]]) -> Do:
    """The operation with what went wrong at the hub as its answer: whether to try again."""

    def do(operation: Operation, progress: Progress) -> dict[str, Any]:
        try:
            return request(operation, progress)
        except Exception as error:  # huggingface_hub lets errors of several libraries through
            if isinstance(error, OSError) and error.errno in STORAGE_FAULTS:
                raise
            met, asked = trouble(error), operation.arguments
            if met is None:
                raise refusal(asked.get("repo", ""), asked.get("revision"), error) from None
            return {"trouble": met._asdict()}

    return do


def _list(operation: Operation, progress: Progress) -> dict[str, Any]:
    """The commit of a revision and the sizes of its files; whether they may be read is checked."""
    repo, revision = operation.arguments["repo"], operation.arguments["revision"]
    api = HfApi()
    info = api.model_info(repo, revision=revision, files_metadata=True)
    api.auth_check(repo)
    folder = _storage(repo)
    if revision != info.sha:
        _remember(folder / "refs" / (revision or "main"), str(info.sha))
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or ()}
    name = info.id if info.id != repo else None
    snapshot = folder / "snapshots" / str(info.sha)
    return {"commit": info.sha, "files": sizes, "folder": str(snapshot), "renamed": name}


def _headers(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Dtype and shape of every tensor in some safetensors files, from their headers."""
    tensors: dict[str, Any] = {}
    asked = operation.arguments
    for file in asked["files"]:
        found = HfApi().parse_safetensors_file_metadata(
            asked["repo"], file, revision=asked["revision"]
        )
        tensors |= {name: [each.dtype, list(each.shape)] for name, each in found.tensors.items()}
    return {"tensors": tensors}


def _fetch(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Have one file of a commit in the cache; progress is in bytes."""
    repo, commit, file = (operation.arguments[key] for key in ("repo", "revision", "file"))
    pointer = _storage(repo) / "snapshots" / commit / file
    if pointer.exists():
        return {}
    url = hf_hub_url(repo, file, revision=commit)
    found = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    blob = _storage(repo) / "blobs" / str(found.etag)
    if not blob.exists():
        blob.parent.mkdir(parents=True, exist_ok=True)
        elsewhere = urlsplit(found.location).netloc != urlsplit(url).netloc
        headers = build_hf_headers(token=False if elsewhere else None)
        with _partial(blob) as part:
            if not blob.exists():
                _transfer(part, found.location, headers, found.size, progress)
                _check(part, str(found.etag))
                Path(part.name).replace(blob)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    return {}


@contextlib.contextmanager
def _partial(blob: Path) -> Iterator[IO[bytes]]:
    """The bytes of a blob that are here, to append to; held by one process at a time."""
    with blob.with_name(f"{blob.name}.incomplete").open("a+b") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        yield part


def _transfer(
    part: IO[bytes], url: str, headers: dict[str, str], size: int | None, progress: Progress
) -> None:
    """Append the bytes of a file that are missing."""
    done = part.seek(0, os.SEEK_END)
    if size is not None and done >= size:
        return
    asked = {**headers, "Accept-Encoding": "identity"}
    if done:
        asked["Range"] = f"bytes={done}-"
    with get_session().stream("GET", url, headers=asked) as answer:
        hf_raise_for_status(answer)
        if done and answer.status_code != 206:
            part.truncate(0)
            done = 0
        for chunk in answer.iter_bytes():
            part.write(chunk)
            done += len(chunk)
            progress(done, size or 0)
    part.flush()


def _check(part: IO[bytes], etag: str) -> None:
    """Compare with the hub's checksum; a damaged file is deleted.

    Raises:
        DamagedFileError: it is another one.
    """
    size = part.seek(0, os.SEEK_END)
    part.seek(0)
    digest = hashlib.sha256() if len(etag) == _SHA256 else hashlib.sha1(usedforsecurity=False)
    if len(etag) != _SHA256:
        digest.update(b"blob %d\0" % size)
    while chunk := part.read(_CHUNK):
        digest.update(chunk)
    if digest.hexdigest() != etag:
        part.truncate(0)
        raise DamagedFileError


def _user(operation: Operation, progress: Progress) -> dict[str, Any]:
    """The name that belongs to the token; without a token, whether the hub answers at all."""
    token = get_token()
    if token is not None:
        return {"name": HfApi().whoami(token=token)["name"]}
    ask()
    return {"name": None}


def _upload(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Upload a folder to a repository of models, which is made if it is not there."""
    asked, api = operation.arguments, HfApi()
    bound_waiting(_UPLOAD_READ)
    url = api.create_repo(asked["repo"], private=asked["private"], exist_ok=True)
    api.upload_folder(repo_id=asked["repo"], folder_path=operation.inputs["folder"])
    return {"url": str(url)}


def _storage(repo: str) -> Path:
    """The folder of a repository in the cache of huggingface_hub."""
    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def _remember(ref: Path, commit: str) -> None:
    """Note the commit of a branch, for when there is no network."""
    ref.parent.mkdir(parents=True, exist_ok=True)
    aside = ref.with_name(f".{ref.name}.{os.getpid()}")
    aside.write_text(commit)
    aside.replace(ref)


def operations(device: str) -> dict[str, Do]:
    """What this module does."""
    bound_waiting()
    return {
        "list": _answering(_list),
        "headers": _answering(_headers),
        "fetch": _answering(_fetch),
        "user": _answering(_user),
        "upload": _answering(_upload),
    }
