"""Metadata of models on the hub, without downloading weights: commit, files, tensor shapes.

huggingface_hub reads HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN by itself. Shapes come from
range requests for the headers of safetensors files, a few kilobytes each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evomerge.domain.errors import PreflightError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TIMEOUT = 10.0


@dataclass(frozen=True)
class RemoteTensor:
    """One tensor of a model on the hub."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class RemoteModel:
    """A model on the hub at one commit.

    Attributes:
        size: total bytes of its safetensors files.
        tensors: by name; empty without safetensors files.
    """

    repo: str
    commit: str
    size: int
    tensors: Mapping[str, RemoteTensor]


class UnreachableError(Exception):
    """The hub did not answer."""


def offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def remote_model(repo: str, revision: str | None) -> RemoteModel:
    """Request the metadata of a model; only file headers are downloaded.

    Raises:
        UnreachableError: there is no network, or HF_HUB_OFFLINE is set.
        PreflightError: the model does not exist, or this user may not access it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError

    if offline():
        raise UnreachableError
    api = HfApi()
    try:
        info = api.model_info(repo, revision=revision, timeout=_TIMEOUT, files_metadata=True)
        api.auth_check(repo)
    except Exception as error:
        raise refusal(repo, revision, error) from None
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or ()}
    try:
        metadata = api.get_safetensors_metadata(repo, revision=info.sha, timeout=_TIMEOUT)
    except NotASafetensorsRepoError:
        return RemoteModel(repo, str(info.sha), 0, {})
    except Exception as error:
        raise refusal(repo, revision, error) from None
    tensors = {
        name: RemoteTensor(tensor.dtype, tuple(tensor.shape))
        for file in metadata.files_metadata.values()
        for name, tensor in file.tensors.items()
    }
    size = sum(sizes.get(name, 0) for name in metadata.files_metadata)
    return RemoteModel(repo, str(info.sha), size, tensors)


def has_file(repo: str, revision: str, name: str) -> bool:
    """Whether the hub has a file; False if it does not answer."""
    from huggingface_hub import HfApi

    if offline():
        return False
    try:
        return bool(HfApi().file_exists(repo, name, revision=revision))
    except Exception:  # the download reports the error, if it matters
        return False


def remote_adapter(repo: str, revision: str, name: str) -> RemoteModel | None:
    """The adapter weights of a repository; None if there is no file `name`.

    Raises:
        UnreachableError, PreflightError: as `remote_model`.
    """
    from huggingface_hub import HfApi

    if offline():
        raise UnreachableError
    api = HfApi()
    try:
        info = api.model_info(repo, revision=revision, timeout=_TIMEOUT, files_metadata=True)
        sizes = {each.rfilename: each.size or 0 for each in info.siblings or ()}
        if name not in sizes:
            return None
        api.auth_check(repo)
        file = api.parse_safetensors_file_metadata(repo, name, revision=info.sha, timeout=_TIMEOUT)
    except Exception as error:
        raise refusal(repo, revision, error) from None
    tensors = {key: RemoteTensor(t.dtype, tuple(t.shape)) for key, t in file.tensors.items()}
    return RemoteModel(repo, str(info.sha), sizes[name], tensors)


def cached_snapshot(repo: str, revision: str | None) -> Path | None:
    """The folder of a model in the hub's cache, possibly incomplete; None if not cached."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except Exception:  # the cache has no valid snapshot
        return None


def refusal(repo: str, revision: str | None, error: Exception) -> PreflightError | UnreachableError:
    """Convert an error of huggingface_hub; its text may contain headers, so it is never shown."""
    from huggingface_hub import errors

    known: tuple[tuple[type[Exception], str, str], ...] = (  # subclasses first
        (
            errors.HFValidationError,
            "it is neither a folder here nor a hub id (org/name[@revision])",
            "check the spelling; begin a path with ./ or /",
        ),
        (
            errors.GatedRepoError,
            "the licence of this model has to be accepted on the hub first",
            f"accept it at https://huggingface.co/{repo} and set HF_TOKEN",
        ),
        (
            errors.RevisionNotFoundError,
            f"the hub has no revision {revision} of it",
            "name a branch or a commit",
        ),
        (
            errors.RepositoryNotFoundError,
            "it is neither a folder here nor a model on the hub",
            "check the spelling; for a private model, set HF_TOKEN",
        ),
        (
            errors.LocalEntryNotFoundError,
            "neither a folder here nor in the hub's cache, and the hub cannot be reached",
            "check the spelling, HF_HOME and HF_HUB_OFFLINE, or download it with network access",
        ),
    )
    for kind, message, remedy in known:
        if isinstance(error, kind):
            return PreflightError(message, remedy)
    if _no_answer(error):
        return UnreachableError()
    return PreflightError(
        f"it cannot be downloaded: {type(error).__name__}", f"try `hf download {repo}` to see why"
    )


def _no_answer(error: Exception) -> bool:
    """Whether the hub could not be reached; huggingface_hub does not wrap httpx's errors."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "OfflineModeIsEnabled"})


def download(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Download the matching files of a hub model; an interrupted download is resumed.

    Raises:
        PreflightError: the model cannot be downloaded.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"]
            )
        )
    except Exception as error:
        raise _unavailable(repo, revision, error) from None


def _unavailable(repo: str, revision: str | None, error: Exception) -> PreflightError:
    refused = refusal(repo, revision, error)
    if isinstance(refused, PreflightError):
        return refused
    return PreflightError(
        "the hub cannot be reached", "try again with network access; partial downloads are kept"
    )


def upload(folder: Path, repo: str, *, private: bool) -> str:
    """Upload a model folder to the hub; returns the URL of the model.

    Raises:
        PreflightError: the hub cannot be reached, or this user has no write access.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder)
    except Exception as error:  # its text may contain headers
        raise PreflightError(
            f"{repo} cannot be uploaded: {type(error).__name__}",
            "log in with a token that may write (`hf auth login`, or HF_TOKEN); what is in "
            f"{folder} is complete",
        ) from None
    return str(url)
