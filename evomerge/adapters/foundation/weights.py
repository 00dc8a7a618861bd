"""The weight files of a model, judged by their headers, and what reading all of them tells."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evomerge.adapters.file_checks import FileChecks
from evomerge.adapters.foundation.lora import (
    ADAPTER_CONFIG,
    ADAPTER_PICKLE,
    ADAPTER_WEIGHTS,
    check_fits,
)
from evomerge.adapters.foundation.source import (
    CONFIG,
    PICKLES,
    WEIGHTS,
    Source,
    configured_vocabulary,
    matching,
)
from evomerge.config import MergeOptions
from evomerge.domain.errors import PreflightError
from evomerge.domain.identity import content_id
from evomerge.domain.model import FROM_THE_HUB, Adapter, Foundation
from evomerge.kinship.headers import INDEX, StoredTensor, read_folder, read_header

Weights = Mapping[str, StoredTensor]

CONTENT_VERSION = 1
BEHAVIOUR = (
    CONFIG,
    "generation_config.json",
    INDEX,
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template*",
    "*.py",
)
"""What a model does depends on these, besides its weights."""

INPUT_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "embeddings.weight")


@dataclass(frozen=True)
class Resolved:
    """A model that can be used.

    Attributes:
        path: its folder, to be read only; of an adapter, the adapter's own.
        size: bytes of its weights, those of the whole model.
        tokenizer: the folder that holds its tokenizer.
    """

    foundation: Foundation
    path: Path
    size: int
    tokenizer: Path


@dataclass(frozen=True)
class ReadableModel:
    """A model whose weight files are at hand.

    Attributes:
        weights: empty where they are pickled; of an adapter, those of the whole model.
        adapter: the tensors of an adapter, empty where they are pickled; None for a whole model.
    """

    source: Source
    weights: Weights
    vocabulary: int
    adapter: Weights | None = None

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return sum(math.prod(each.shape) * each.item_size for each in self.weights.values())


def weight_files(source: Source, options: MergeOptions) -> list[str]:
    """The names of the weight files of a model or adapter, here or on the hub.

    Raises:
        PreflightError: there are none, or they are pickled and `options` does not allow it.
    """
    names = source.names
    if source.lora is not None:
        wanted = (ADAPTER_WEIGHTS, *((ADAPTER_PICKLE,) if options.allow_pickle else ()))
        found = [name for name in wanted if name in names]
        if not found:
            raise lacks_weights(ADAPTER_PICKLE in names)
        return found[:1]
    if INDEX in names:
        return sorted(set(weight_map(source.folder / INDEX).values()))
    if WEIGHTS in names:
        return [WEIGHTS]
    pickles = matching(names, PICKLES)
    if not pickles or not options.allow_pickle:
        raise PreflightError(
            "its weights are pickled, which can run code when they are loaded"
            if pickles
            else f"it has no safetensors weights: neither {WEIGHTS} nor {INDEX} is there",
            "set `merge.options.allow_pickle: true`: tensors and nothing else are read from them, "
            "once, into the store"
            if pickles
            else "name the folder that holds the weights",
        )
    return pickles


def is_pickled(files: Sequence[str]) -> bool:
    """Whether these weight files of a whole model are pickles."""
    return bool(matching(files, PICKLES))


def judge(
    source: Source, options: MergeOptions, base: ReadableModel | None = None
) -> ReadableModel:
    """The model with its weight files, which are here, as their headers tell.

    Args:
        base: the base model, which adapters cannot do without.

    Raises:
        PreflightError, WeightFileError: weights are missing, damaged, or do not fit.
    """
    files = weight_files(source, options)
    if source.lora is None:
        if is_pickled(files):
            return ReadableModel(source, {}, configured_vocabulary(source.config))
        return readable_model(source, read_folder(source.folder))
    if base is None:
        raise ValueError("an adapter needs its base model")
    if files == [ADAPTER_PICKLE]:
        return ReadableModel(source, base.weights, base.vocabulary, {})
    return adapter_over(source, read_header(source.folder / ADAPTER_WEIGHTS), base)


def lacks_weights(pickled: bool) -> PreflightError:
    """The error of an adapter without safetensors."""
    return PreflightError(
        f"it is an adapter without safetensors weights: {ADAPTER_WEIGHTS} is not there",
        "save it with peft again, or set `merge.options.allow_pickle: true` if you trust it"
        if pickled
        else "fetch the adapter again",
    )


def adapter_over(source: Source, adapter: Weights, base: ReadableModel) -> ReadableModel:
    """An adapter as the whole model that it will be; raises PreflightError if it does not fit."""
    if source.lora is not None:
        tied = bool(base.source.config.get("tie_word_embeddings", False))
        check_fits(source.lora, adapter, base.weights, tied=tied)
    return ReadableModel(source, base.weights, base.vocabulary, adapter)


def readable_model(source: Source, weights: Weights) -> ReadableModel:
    """A model with its tensors; raises PreflightError where config and tensors disagree."""
    configured = configured_vocabulary(source.config)
    embedding = input_embedding(weights)
    if embedding is not None and configured not in (0, embedding.rows):
        raise PreflightError(
            f"its {CONFIG} says vocab_size {configured}, and {embedding.name} has "
            f"{embedding.rows} rows",
            "correct vocab_size, or save the model again",
        )
    return ReadableModel(source, weights, configured if embedding is None else embedding.rows)


def weight_map(index: Path) -> Mapping[str, str]:
    """The file of every tensor; raises PreflightError."""
    try:
        return dict(json.loads(index.read_bytes())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreflightError(
            f"its {index.name} cannot be read: {error}", "fetch it again"
        ) from None


def input_embedding(weights: Weights) -> StoredTensor | None:
    """The tensor that has a row for every token; None where no name is known."""
    names = [name for end in INPUT_EMBEDDINGS for name in sorted(weights) if name.endswith(end)]
    return next((weights[name] for name in names if len(weights[name].shape) == 2), None)


def check_finite(candidate: ReadableModel, known: FileChecks) -> None:
    """No weight may be NaN or infinite: such a model scores chance and spoils every merge."""
    weights = candidate.weights if candidate.adapter is None else candidate.adapter
    name = known.not_finite(weights.values())
    if name is not None:
        raise PreflightError(
            f"tensor {name} holds NaN or infinity",
            "fetch the model again, or take one whose training did not diverge",
        )


def own_id(source: Source, files: Sequence[str], digests: FileChecks) -> str:
    """The content id of a model, or of an adapter itself: the hub's commit, or its files' digest.

    Args:
        files: the names of its weight files.
    """
    if source.listing is not None:
        return f"{FROM_THE_HUB}{source.listing.commit}"
    own = [ADAPTER_CONFIG] if source.lora is not None else []
    names = {*files, *own, *matching(source.names, BEHAVIOUR)}
    paths = [source.folder / name for name in sorted(names)]
    sums = digests.sha256(paths)
    return content_id("weights", CONTENT_VERSION, {path.name: sums[path] for path in paths})


def resolved(
    candidate: ReadableModel, identity: str, base: Resolved | None, adapter_engine: str
) -> Resolved:
    """The model with its content id.

    Args:
        identity: its `own_id`.
        base: the base model; None for the base model itself.
        adapter_engine: what merges adapters, with its version.
    """
    source = candidate.source
    size = sum(path.stat().st_size for path in {each.file for each in candidate.weights.values()})
    adapter = None
    if candidate.adapter is not None and base is not None:
        adapter = Adapter(content_id=identity, engine=adapter_engine)
        identity, size = adapter.merged_onto(base.foundation.content_id), base.size
    foundation = Foundation(
        name=source.model.short_name,
        source=source.model.model,
        content_id=identity,
        vocabulary=max(1, candidate.vocabulary),
        adapter=adapter,
    )
    return Resolved(foundation, source.folder, size, source.tokenizer)


def described(candidate: ReadableModel) -> str:
    """Architecture, layers, vocabulary and parameters in a few words."""
    config = candidate.source.config
    parameters = sum(tensor.rows * tensor.row_size for tensor in candidate.weights.values())
    parts = [
        str(config["architectures"][0]),
        f"{config.get('num_hidden_layers', '?')} layers",
        f"{candidate.vocabulary:,} tokens",
        f"{parameters:,} parameters",
    ]
    return ", ".join(parts)
