"""What the hub knows of a model before its weights are downloaded: commit, files, tensor shapes.

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
        size: bytes of its safetensors files.
        tensors: by name; empty where it has no safetensors.
    """

    repo: str
    commit: str
    size: int
    tensors: Mapping[str, RemoteTensor]


class UnreachableError(Exception):
    """The hub gave no answer; nothing is known of the model."""


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def remote_model(repo: str, revision: str | None) -> RemoteModel:
    """Ask the hub about a model; nothing is downloaded but file headers.

    Raises:
        UnreachableError: there is no network, or it is switched off.
        PreflightError: the hub does not have it, or does not give it to this user.
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
    """Whether the hub has a file; False where it gives no answer."""
    from huggingface_hub import HfApi

    if offline():
        return False
    try:
        return bool(HfApi().file_exists(repo, name, revision=revision))
    except Exception:  # what matters of it is said where the file is fetched
        return False


def remote_adapter(repo: str, revision: str, name: str) -> RemoteModel | None:
    """The adapter weights of a repository; None where there is no file `name`.

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
    """The folder of a model in the hub's cache, perhaps without some of its files."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except Exception:  # whatever the cache holds, it is no snapshot
        return None


def refusal(repo: str, revision: str | None, error: Exception) -> PreflightError | UnreachableError:
    """What an error of huggingface_hub means; its text may hold headers and is never shown."""
    from huggingface_hub import errors

    known: tuple[tuple[type[Exception], str, str], ...] = (  # the special ones come first
        (
            errors.HFValidationError,
            "it is neither a folder here nor a hub id (org/name[@revision])",
            "check the spelling; begin a path with ./ or /",
        ),
        (
            errors.GatedRepoError,
            "the hub asks for a licence to be accepted before it gives this model",
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
            "check the spelling, HF_HOME and HF_HUB_OFFLINE, or download it where the net is",
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
    """Whether the hub was not reached at all; huggingface_hub lets httpx's errors through."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "OfflineModeIsEnabled"})


def download(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The snapshot of a hub model, with the files that match; an interrupted one goes on.

    Raises:
        PreflightError: it cannot be had.
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
        "the hub cannot be reached", "try again where the net is; what was fetched is kept"
    )


def upload(folder: Path, repo: str, *, private: bool) -> str:
    """Upload a model folder to the hub; the address of the model.

    Raises:
        PreflightError: the hub cannot be reached, or does not let this user write there.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder)
    except Exception as error:  # its text may hold headers
        raise PreflightError(
            f"{repo} cannot be uploaded: {type(error).__name__}",
            "log in with a token that may write (`hf auth login`, or HF_TOKEN); what is in "
            f"{folder} is complete",
        ) from None
    return str(url)
