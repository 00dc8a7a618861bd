"""Where the weights of a run's foundation models are now, without looking into them."""

from __future__ import annotations

from pathlib import Path

from evomerge.domain.model import Foundation

_FROM_THE_HUB = "hub-"


def folder_of(model: Foundation) -> Path:
    """The folder of a foundation model or the base as a run recorded it; perhaps it is gone.

    A hub model is looked for in the cache of huggingface_hub, at the recorded commit; nothing is
    downloaded.
    """
    if not model.content_id.startswith(_FROM_THE_HUB):
        return Path(model.source).expanduser()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, commit = model.source.partition("@")[0], model.content_id.removeprefix(_FROM_THE_HUB)
    try:
        return Path(snapshot_download(repo, revision=commit, local_files_only=True))
    except LocalEntryNotFoundError:
        return Path(model.source)
