"""Merging of LoRA adapters into the base model with peft, in `peft_child`.

Nothing here imports peft or torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from evomerge.adapters.child import Child
from evomerge.adapters.folders import folder_of
from evomerge.adapters.foundation import Resolved
from evomerge.config import MergeOptions
from evomerge.domain.errors import CandidateError, PreflightError, StoppedError
from evomerge.domain.model import Foundation
from evomerge.execution.attempts import retry
from evomerge.execution.pool import Pool, no_progress
from evomerge.execution.resources import Resources
from evomerge.ports import HostedProgress, Operation, Worker
from evomerge.store.artefacts import Store
from evomerge.store.atomic import make_folder

_ENVIRONMENT = {
    # The base model is given as a folder; the adapter's name for it must not be looked up.
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
}


_ATTEMPTS = 2


def worker(log: Path) -> Worker:
    """The worker for `merge_adapter`, a child process that lives until it is closed."""
    module = "evomerge.adapters.peft_child"
    return Child(module, {"merge_adapter"}, log, _ENVIRONMENT, name="peft child")


def merge_adapter(
    adapter: Resolved,
    base: Resolved,
    into: Path,
    options: MergeOptions,
    seconds: float | None = None,
) -> Operation:
    """Write the base model with the adapter merged into it into the empty folder `into`."""
    return Operation(
        kind="merge_adapter",
        arguments={"trust_remote_code": options.trust_remote_code},
        inputs={"base": base.path, "adapter": adapter.path, "tokenizer": adapter.tokenizer},
        into=into,
        seconds=seconds,
    )


def merge_adapters(
    models: Sequence[Resolved],
    store: Store,
    pool: Pool,
    resources: Resources,
    progress: Callable[[str], HostedProgress],
    options: MergeOptions,
    seconds: float | None = None,
) -> None:
    """Merge every adapter into the base and store the resulting model.

    Args:
        models: the base, then the foundation models; whole models are ignored.
        progress: returns the progress callback for the name of a model.
        seconds: time limit of one merge.

    Raises:
        PreflightError: peft cannot use all of an adapter.
        StoppedError: a merge failed repeatedly, or there is no space for the result.
    """
    base, *others = models
    for model in others:
        if model.foundation.adapter is None:
            continue
        name = f"models/{model.foundation.content_id}"
        resources.check_disk(0 if store.holds(name) else 1)

        def build(into: Path, model: Resolved = model) -> None:
            operation = merge_adapter(model, base, into, options, seconds)
            pool.run(operation, progress(model.foundation.name))

        try:
            retry(_ATTEMPTS, partial(store.obtain, name, build))
        except CandidateError as error:
            message = f"{model.foundation.name}: the adapter cannot be merged: {error.message}"
            raise StoppedError(message, error.remedy) from error
        except PreflightError as error:
            error.message = f"{model.foundation.name}: {error.message}"
            raise


def weights_of(model: Resolved, store: Store) -> Path:
    """The folder of the base or a foundation model; for an adapter, that of the merged model."""
    adapted = model.foundation.adapter is not None
    return folder_of(model.foundation, store.root) if adapted else model.path


def whole(base: Resolved, models: Sequence[Resolved], store: Store) -> dict[str, Path]:
    """The folders of models by name; adapters are merged into `store` if necessary.

    Raises:
        StoppedError: as `merge_adapters`.
    """
    if any(each.foundation.adapter for each in models):
        make_folder(store.root)
        resources = Resources(store.root, model_size=base.size)
        with (
            tempfile.TemporaryDirectory() as logs,
            closing(Pool([worker(Path(logs) / "adapters.log")])) as pool,
        ):
            merge_adapters(
                [base, *models], store, pool, resources, lambda _: no_progress, MergeOptions()
            )
    return {each.foundation.name: weights_of(each, store) for each in models}


def as_merged_before(
    models: Iterable[Resolved], base: str, before: Iterable[Foundation], store: Store
) -> tuple[Resolved, ...]:
    """Replace adapters by the models that an earlier peft merged, if the store still has them.

    So a run keeps the weights that it began with after an upgrade of peft.

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
