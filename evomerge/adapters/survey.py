"""Size, shape and location of the models of a config, without reading or downloading weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from evomerge.adapters.foundation.lora import ADAPTER_WEIGHTS
from evomerge.adapters.foundation.source import is_adapter
from evomerge.adapters.hub import (
    RemoteModel,
    UnreachableError,
    cached_snapshot,
    remote_adapter,
    remote_model,
)
from evomerge.config import ModelConfig
from evomerge.domain.errors import PreflightError
from evomerge.kinship.errors import WeightFileError
from evomerge.kinship.headers import read_folder
from evomerge.planning import ModelFacts

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "embeddings.weight")


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


def survey(models: Sequence[ModelConfig]) -> tuple[ModelFacts, ...]:
    """The facts about each model; a model that is not found is `unknown`, not an error.

    If the hub does not answer, it is not asked about further models.

    Args:
        models: the base model first; adapters count with its size.
    """
    facts: list[ModelFacts] = []
    reachable = True
    for model in models:
        folder = _local(model)
        if folder is not None:
            if is_adapter(folder):
                own = ModelFacts(model.short_name, model.model, "local")
                facts.append(_merged(own, folder, facts))
            else:
                facts.append(_of_folder(model, folder, "local", None))
            continue
        if model.repo is None:
            facts.append(ModelFacts(model.short_name, model.model, "unknown"))
            continue
        remote = None
        if reachable:
            try:
                remote = remote_model(model.source, model.revision)
            except UnreachableError:
                reachable = False
            except PreflightError:
                facts.append(ModelFacts(model.short_name, model.model, "unknown"))
                continue
        facts.append(_of_hub(model, remote, facts))
    return tuple(facts)


def _merged(
    own: ModelFacts, folder: Path | None, before: Sequence[ModelFacts], size: int = 0
) -> ModelFacts:
    """The model that an adapter is merged into, with the size and shape of the base model."""
    base = before[0] if before else own
    file = folder and folder / ADAPTER_WEIGHTS
    return replace(
        own,
        size=base.size,
        parameters=base.parameters,
        largest=base.largest,
        vocabulary=base.vocabulary,
        adapter=file.stat().st_size if file and file.is_file() else size,
    )


def _of_hub(
    model: ModelConfig, remote: RemoteModel | None, before: Sequence[ModelFacts]
) -> ModelFacts:
    """The facts from the cache if it has the weights, else from the hub."""
    commit = remote.commit if remote else model.revision
    cached = cached_snapshot(model.source, commit)
    if cached is not None and (cached / ADAPTER_WEIGHTS).is_file() and is_adapter(cached):
        own = ModelFacts(model.short_name, model.model, "cached", cached.name)
        return _merged(own, cached, before)
    if remote is not None and not remote.tensors:
        adapter = _remote_adapter(model.source, remote.commit)
        if adapter is not None:
            own = ModelFacts(model.short_name, model.model, "hub", remote.commit)
            return _merged(own, None, before, adapter.size)
    here = _of_folder(model, cached, "cached", cached.name if cached else commit)
    if here.where == "cached" or remote is None:
        return here
    return _facts(model, "hub", remote.tensors, remote.size or None, commit)


def _remote_adapter(repo: str, commit: str) -> RemoteModel | None:
    try:
        return remote_adapter(repo, commit, ADAPTER_WEIGHTS)
    except (UnreachableError, PreflightError):
        return None


def _local(model: ModelConfig) -> Path | None:
    path = Path(model.model).expanduser()
    return path if path.is_dir() else None


def _of_folder(
    model: ModelConfig,
    folder: Path | None,
    where: Literal["local", "cached"],
    commit: str | None,
) -> ModelFacts:
    try:
        tensors = read_folder(folder) if folder is not None else {}
    except WeightFileError:
        tensors = {}
    if not tensors:
        return ModelFacts(model.short_name, model.model, "unknown", commit)
    size = sum(path.stat().st_size for path in {tensor.file for tensor in tensors.values()})
    return _facts(model, where, tensors, size, commit)


def _facts(
    model: ModelConfig,
    where: Literal["local", "cached", "hub"],
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
