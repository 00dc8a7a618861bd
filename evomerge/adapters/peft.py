"""LoRA adapters become whole models: peft merges them onto the base, in `peft_child`.

Nothing here imports peft or torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from evomerge.adapters.child import Child
from evomerge.adapters.folders import folder_of
from evomerge.adapters.foundation import Resolved
from evomerge.adapters.room import Room
from evomerge.config import MergeOptions
from evomerge.domain.errors import CandidateError, PreflightError, StoppedError
from evomerge.domain.model import Foundation
from evomerge.ports import Progress
from evomerge.store.artefacts import Store
from evomerge.store.atomic import make_folder

_ENVIRONMENT = {
    # The base model is given as a folder; what the adapter calls it must not be looked for.
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
}


class AdapterMerger:
    """Merges adapters in one child process that lives until `close`.

    Args:
        log: file that the child's stderr is appended to.
        timeout: seconds that one merge may take; None for no limit.
    """

    def __init__(self, options: MergeOptions, log: Path, timeout: float | None = None) -> None:
        self._options = options
        self._timeout = timeout
        self._child = Child("evomerge.adapters.peft_child", log, _ENVIRONMENT, name="peft child")

    def merge(self, adapter: Resolved, base: Resolved, into: Path, progress: Progress) -> None:
        """Write the base model with the adapter merged into it into the empty folder `into`.

        Names, dtypes and files of the weights, config and generation config are the base model's;
        the tokenizer is the adapter's, if it has one. A tensor that the adapter does not touch is
        the base model's bit by bit.

        Args:
            progress: in weight files.

        Raises:
            PreflightError: peft cannot use all of the adapter.
            CandidateError: the merge failed, or a weight of the result is not finite.
        """
        payload = {
            "adapter": str(adapter.path),
            "base": str(base.path),
            "tokenizer": str(adapter.tokenizer),
            "into": str(into.resolve()),
            "trust_remote_code": self._options.trust_remote_code,
        }
        self._child.call("merge", payload, progress, self._timeout)

    def close(self) -> None:
        """End the child."""
        self._child.close()


_ATTEMPTS = 2


def merge_adapters(
    models: Sequence[Resolved],
    store: Store,
    merger: AdapterMerger,
    room: Room,
    told: Callable[[str], Progress],
) -> None:
    """Have every adapter in the store as the whole model that it stands for.

    Args:
        models: the base, then the foundation models; those that are whole are left alone.
        told: where progress goes, by the name of a model.

    Raises:
        PreflightError: peft cannot use all of an adapter.
        StoppedError: a merge failed again and again, or there is no room for the result.
    """
    base, *others = models
    for model in others:
        if model.foundation.adapter is not None:
            _obtain(model, base, store, merger, room, told(model.foundation.name))


def _obtain(
    model: Resolved,
    base: Resolved,
    store: Store,
    merger: AdapterMerger,
    room: Room,
    progress: Progress,
) -> None:
    name = f"models/{model.foundation.content_id}"
    room.check_disk(0 if store.holds(name) else 1)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            store.obtain(name, lambda into: merger.merge(model, base, into, progress))
        except CandidateError as error:
            if attempt == _ATTEMPTS:
                message = f"{model.foundation.name}: the adapter cannot be merged: {error.message}"
                raise StoppedError(message, error.remedy) from error
            merger.close()
        except PreflightError as error:
            error.message = f"{model.foundation.name}: {error.message}"
            raise
        else:
            return


def weights_of(model: Resolved, store: Store) -> Path:
    """The folder of the base or a foundation model; of an adapter, where it is once merged."""
    adapted = model.foundation.adapter is not None
    return folder_of(model.foundation, store.root) if adapted else model.path


def whole(base: Resolved, models: Sequence[Resolved], store: Store) -> dict[str, Path]:
    """The folders of models by name; adapters are merged in `store` if need be.

    Raises:
        StoppedError: as `merge_adapters`.
    """
    if any(each.foundation.adapter for each in models):
        make_folder(store.root)
        room = Room(store.root, model_size=base.size)
        with tempfile.TemporaryDirectory() as logs:
            merger = AdapterMerger(MergeOptions(), Path(logs) / "adapters.log")
            with closing(merger):
                merge_adapters([base, *models], store, merger, room, lambda _: _silently)
    return {each.foundation.name: weights_of(each, store) for each in models}


def _silently(done: int, total: int) -> None:
    """No progress is shown."""


def as_merged_before(
    models: Iterable[Resolved], base: str, before: Iterable[Foundation], store: Store
) -> tuple[Resolved, ...]:
    """Adapters as an earlier version of peft merged them, where that is still in the store.

    So a run goes on with the weights that it began with after an upgrade.

    Args:
        base: content id of the base model.
        before: the foundation models that the run began with.
    """
    known = {
        each.source: each
        for each in before
        if each.adapter is not None and each.adapter.merged_onto(base) == each.content_id
    }
    return tuple(_before(model, known.get(model.foundation.source), store) for model in models)


def _before(model: Resolved, old: Foundation | None, store: Store) -> Resolved:
    now = model.foundation
    if old is None or old.adapter is None or now.adapter is None:
        return model
    same = old.adapter.content_id == now.adapter.content_id
    if not same or not store.holds(f"models/{old.content_id}"):
        return model
    kept = {"content_id": old.content_id, "adapter": old.adapter}
    return replace(model, foundation=now.model_copy(update=kept))
