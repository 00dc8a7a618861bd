"""Locations of the weights of a run's foundation models."""

from __future__ import annotations

from pathlib import Path

from evomerge.domain.model import Foundation


def folder_of(model: Foundation, store: Path) -> Path:
    """The folder of a foundation model or the base as recorded in a run; it may not exist.

    A hub model is looked up in the cache of huggingface_hub at the recorded commit; nothing is
    downloaded. A merged adapter is in the store.
    """
    if model.adapter is not None:
        return store / "models" / model.content_id
    if model.commit is None:
        return Path(model.source).expanduser()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo = model.source.partition("@")[0]
    try:
        return Path(snapshot_download(repo, revision=model.commit, local_files_only=True))
    except LocalEntryNotFoundError:
        return Path(model.source)
