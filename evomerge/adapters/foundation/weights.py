"""The weight files of a model, judged by their headers, and what reading all of them tells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from evomerge.adapters.foundation.source import CONFIG, Source, configured_vocabulary
from evomerge.adapters.hub import download
from evomerge.adapters.known_files import KnownFiles
from evomerge.config import MergeOptions
from evomerge.domain.errors import PreflightError
from evomerge.domain.identity import content_id
from evomerge.domain.model import Foundation
from evomerge.kinship.headers import INDEX, StoredTensor, read_folder

Weights = Mapping[str, StoredTensor]

WEIGHTS = "model.safetensors"
PICKLES = ("pytorch_model*.bin",)
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
        path: its folder, to be read only.
        size: bytes of its weights.
    """

    foundation: Foundation
    path: Path
    size: int


@dataclass(frozen=True)
class Candidate:
    """A model whose weight files are at hand; `weights` are empty where they are pickled."""

    source: Source
    weights: Weights
    vocabulary: int


def judge(source: Source, options: MergeOptions) -> Candidate:
    """The model with its weight files, as their headers tell; raises PreflightError."""
    folder = source.folder
    if source.repo is not None:
        _download_weights(source.repo, source, options)
    if not (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
        pickled = sorted(path for pattern in PICKLES for path in folder.glob(pattern))
        if not pickled or not options.allow_pickle:
            raise PreflightError(
                f"it has no safetensors weights: neither {WEIGHTS} nor {INDEX} is there",
                "convert it, or set `merge.options.allow_pickle: true` if you trust it"
                if pickled
                else "name the folder that holds the weights",
            )
        return Candidate(source, {}, configured_vocabulary(source.config))
    return candidate_of(source, read_folder(folder))


def candidate_of(source: Source, weights: Weights) -> Candidate:
    """A model with its tensors; raises PreflightError where config and tensors disagree."""
    configured = configured_vocabulary(source.config)
    embedding = input_embedding(weights)
    if embedding is not None and configured not in (0, embedding.rows):
        raise PreflightError(
            f"its {CONFIG} says vocab_size {configured}, and {embedding.name} has "
            f"{embedding.rows} rows",
            "correct vocab_size, or save the model again",
        )
    return Candidate(source, weights, configured if embedding is None else embedding.rows)


def _download_weights(repo: str, source: Source, options: MergeOptions) -> None:
    index = source.folder / INDEX
    patterns: Sequence[str] = (WEIGHTS,)
    if index.is_file():
        patterns = sorted(set(weight_map(index).values()))
    download(repo, source.commit, patterns)
    if options.allow_pickle and not index.is_file() and not (source.folder / WEIGHTS).is_file():
        download(repo, source.commit, PICKLES)


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


def check_finite(candidate: Candidate, known: KnownFiles) -> None:
    """No weight may be NaN or infinite: such a model scores chance and spoils every merge."""
    name = known.not_finite(candidate.weights.values())
    if name is not None:
        raise PreflightError(
            f"tensor {name} holds NaN or infinity",
            "fetch the model again, or take one whose training did not diverge",
        )


def resolved(candidate: Candidate, digests: KnownFiles) -> Resolved:
    """The model with its content id."""
    source = candidate.source
    files = sorted({tensor.file for tensor in candidate.weights.values()}) or sorted(
        path for pattern in PICKLES for path in source.folder.glob(pattern)
    )
    identity = f"hub-{source.commit}"
    if source.repo is None:
        identity = _local_content_id(source.folder, files, digests)
    return Resolved(
        Foundation(
            name=source.model.short_name,
            source=source.model.model,
            content_id=identity,
            vocabulary=max(1, candidate.vocabulary),
        ),
        source.folder,
        sum(path.stat().st_size for path in files),
    )


def _local_content_id(folder: Path, weights: Sequence[Path], digests: KnownFiles) -> str:
    """The id of the files that a model's behaviour depends on: their names and contents."""
    beside = [
        path
        for path in folder.iterdir()
        if path.is_file() and any(fnmatch(path.name, each) for each in BEHAVIOUR)
    ]
    files = sorted({*weights, *beside})
    sums = digests.sha256(files)
    return content_id("weights", CONTENT_VERSION, {path.name: sums[path] for path in files})


def described(candidate: Candidate) -> str:
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
