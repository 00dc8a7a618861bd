"""Locations of the weights of a run's foundation models."""

from __future__ import annotations

from pathlib import Path

from evomerge.adapters.hub import cached_snapshot
from evomerge.domain.model import Foundation


def folder_of(model: Foundation, store: Path) -> Path:
    """The folder of a foundation model or the base as recorded in a run; it may not exist.

    A hub model is looked up in the cache of huggingface_hub at the recorded commit; nothing is
    downloaded. A merged adapter is in the store.
    """
    in_store = store / "models" / model.content_id
    if model.adapter is not None or in_store.is_dir():
        return in_store
    if model.commit is None:
        return Path(model.source).expanduser()
    return cached_snapshot(model.source.partition("@")[0], model.commit) or Path(model.source)
