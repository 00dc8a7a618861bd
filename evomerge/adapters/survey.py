"""Size, shape and location of the models of a config, without reading or downloading weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from evomerge.adapters.foundation.lora import ADAPTER_WEIGHTS
from evomerge.adapters.foundation.source import PICKLES, is_adapter, matching, names_in
from evomerge.adapters.hub import Hub, Listing, UnreachableError
from evomerge.config import ModelConfig
from evomerge.domain.errors import PreflightError, StoppedError
from evomerge.kinship.errors import WeightFileError
from evomerge.kinship.headers import read_folder
from evomerge.planning.models import ModelFacts, Where

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "embeddings.weight")


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


def survey(models: Sequence[ModelConfig], hub: Hub) -> tuple[ModelFacts, ...]:
    """The facts about each model; a model that is not found is `unknown`, not an error.

    Args:
        models: the base model first; adapters count with its size.
    """
    facts: list[ModelFacts] = []
    for model in models:
        folder = _local(model)
        if folder is None:
            facts.append(_of_hub(model, hub, facts))
        elif is_adapter(names_in(folder)):
            own = ModelFacts(model.short_name, model.model, "local")
            facts.append(_merged(own, _size(folder), facts))
        else:
            facts.append(_of_folder(model, folder, "local", None))
    return tuple(facts)


def _size(folder: Path) -> int:
    file = folder / ADAPTER_WEIGHTS
    return file.stat().st_size if file.is_file() else 0


def _merged(own: ModelFacts, size: int, before: Sequence[ModelFacts]) -> ModelFacts:
    """The model that an adapter is merged into, with the size and shape of the base model."""
    base = before[0] if before else own
    return replace(
        own,
        size=base.size,
        parameters=base.parameters,
        largest=base.largest,
        vocabulary=base.vocabulary,
        adapter=size,
    )


def _of_hub(model: ModelConfig, hub: Hub, before: Sequence[ModelFacts]) -> ModelFacts:
    """The facts from the cache if it has the weights, else from the hub."""
    unknown = ModelFacts(model.short_name, model.model, "unknown")
    if model.repo is None:
        return unknown
    try:
        listing = hub.listing(model.repo, model.revision)
    except PreflightError as error:
        return replace(unknown, trouble=error.message)
    except StoppedError as error:
        return replace(unknown, trouble=error.message)
    cached = listing.folder
    if is_adapter(set(listing.files)):
        where: Where = "cached" if (cached / ADAPTER_WEIGHTS).is_file() else "hub"
        own = replace(unknown, where=where, commit=listing.commit)
        return _merged(own, listing.files.get(ADAPTER_WEIGHTS, 0), before)
    if cached.is_dir():
        here = _of_folder(model, cached, "cached", listing.commit)
        if here.where == "cached":
            return here
    return _remote(model, hub, listing)


def _remote(model: ModelConfig, hub: Hub, listing: Listing) -> ModelFacts:
    """The facts about a model whose weights are to be fetched; shapes only of safetensors."""
    unknown = ModelFacts(model.short_name, model.model, "unknown", listing.commit)
    if not listing.asked:
        return replace(unknown, trouble="the hub cannot be reached")
    weights = matching(listing.files, ("model*.safetensors",))
    if not weights:
        pickles = sum(listing.files[name] for name in matching(listing.files, PICKLES))
        return replace(unknown, where="hub", size=pickles or None)
    try:
        tensors = hub.tensors(listing, weights)
    except (UnreachableError, PreflightError) as error:
        return replace(unknown, trouble=str(error))
    size = sum(listing.files[name] for name in weights)
    return _facts(model, "hub", tensors, size, listing.commit)


def _local(model: ModelConfig) -> Path | None:
    path = Path(model.model).expanduser()
    return path if path.is_dir() else None


def _of_folder(model: ModelConfig, folder: Path, where: Where, commit: str | None) -> ModelFacts:
    try:
        tensors = read_folder(folder)
    except WeightFileError:
        return ModelFacts(model.short_name, model.model, "unknown", commit)
    size = sum(path.stat().st_size for path in {tensor.file for tensor in tensors.values()})
    return _facts(model, where, tensors, size, commit)


def _facts(
    model: ModelConfig,
    where: Where,
    tensors: Mapping[str, _Shaped],
    size: int | None,
    commit: str | None,
) -> ModelFacts:
    counts = [math.prod(tensor.shape) for tensor in tensors.values()]
    return ModelFacts(
        name=model.short_name,
        source=model.model,
        where=where,
        commit=commit,
        size=size,
        parameters=sum(counts) or None,
        largest=max(counts, default=None),
        vocabulary=next(iter(_rows(tensors)), None),
    )


def _rows(tensors: Mapping[str, _Shaped]) -> Iterable[int]:
    for end in EMBEDDINGS:
        for name, tensor in tensors.items():
            if name.endswith(end) and len(tensor.shape) == 2:
                yield tensor.shape[0]
