"""From the models that a config names to folders with pinned content, before any work is done.

Nothing here imports torch; weights are judged by the headers of their files alone.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from evomerge.adapters.known_files import KnownFiles
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import EvomergeError, PreflightError
from evomerge.domain.identity import content_id
from evomerge.domain.model import Foundation
from evomerge.kinship.errors import WeightFileError
from evomerge.kinship.headers import INDEX, StoredTensor, read_folder

Weights = Mapping[str, StoredTensor]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SIDE_FILES = ("*.json", "*.jinja", "tokenizer*", "*.model", "merges.txt", "vocab.txt")
CODE_FILES = ("*.py",)
PICKLES = ("pytorch_model*.bin",)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")

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

_HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[^@\s]+))?", re.ASCII)
_INPUT_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "embeddings.weight")
_DIMENSIONS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)
_COMPUTED_BUFFERS = ("inv_freq", "masked_bias")
"""Saved by older libraries, computed by newer ones; mergekit leaves them alone."""


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
class _Source:
    """A model whose small files are at hand; `repo` is None for a local folder."""

    model: ModelConfig
    folder: Path
    repo: str | None
    config: Mapping[str, Any]

    @property
    def commit(self) -> str:
        """The commit of the hub that `folder` is a snapshot of."""
        return self.folder.name


@dataclass(frozen=True)
class _Candidate:
    """A model whose weight files are at hand; `weights` are empty where they are pickled."""

    source: _Source
    weights: Weights
    vocabulary: int


def resolve_all(
    base: ModelConfig,
    foundation: Sequence[ModelConfig],
    options: MergeOptions,
    digests: Path,
    checking: Callable[[str], None] = lambda _: None,
) -> tuple[Resolved, ...]:
    """The base model, then the foundation models in their order, each fit for merging.

    Hub models come from the cache of huggingface_hub (HF_HOME, HF_HUB_OFFLINE, HF_TOKEN), pinned
    to a commit. What is missing is downloaded; weights only when no small file speaks against it.

    Args:
        digests: file that remembers what reading the weights told, see `known_files`.
        checking: told what is looked at next.

    Raises:
        PreflightError: models are missing, damaged, or do not fit together; it lists all of them.
    """
    faults = _Faults()
    sources: dict[int, _Source] = {}
    total = len(foundation) + 1
    for place, model in enumerate((base, *foundation)):
        checking(f"model {model.short_name} ({place + 1} of {total})")
        with faults.of(model):
            source = _find(model, options)
            if 0 in sources and not options.allow_crimes:
                _check_architecture(source.config, sources[0].config)
                if source.repo is not None:  # before its weights are downloaded
                    _check_dimensions(source.config, sources[0].config)
            sources[place] = source
    candidates: dict[int, _Candidate] = {}
    for place, source in sources.items():
        if faults.found and source.repo is not None:
            continue  # no hours of downloads for a config that cannot run
        if source.repo is not None:
            checking(f"model {source.model.short_name}: fetching what is missing")
        with faults.of(source.model):
            candidate = _judge(source, options)
            if 0 in candidates and not options.allow_crimes:
                _check_tensors(candidate, candidates[0])
                _check_dimensions(source.config, candidates[0].source.config)
            candidates[place] = candidate
    faults.raise_any()
    known = KnownFiles(digests)
    for place, candidate in enumerate(candidates.values()):
        name = candidate.source.model.short_name
        checking(f"weights of {name} ({place + 1} of {len(candidates)})")
        with faults.of(candidate.source.model):
            _check_finite(candidate, known)
    faults.raise_any()
    resolved = tuple(_resolved(candidate, known) for candidate in candidates.values())
    known.save()
    _check_distinct(resolved[1:])
    return resolved


class _Faults:
    """What is wrong with each model; the first fault of a model is enough."""

    def __init__(self) -> None:
        self.found: list[tuple[ModelConfig, EvomergeError]] = []

    @contextmanager
    def of(self, model: ModelConfig) -> Iterator[None]:
        try:
            yield
        except (PreflightError, WeightFileError) as error:
            if error.remedy is None:
                error.remedy = "fetch the model again; its files are not complete"
            if (model, str(error)) not in [(other, str(known)) for other, known in self.found]:
                self.found.append((model, error))

    def raise_any(self) -> None:
        if not self.found:
            return
        lines = [
            f"{model.short_name} ({model.model}): {error.message}"
            + (f"; {error.remedy}" if error.remedy else "")
            for model, error in self.found
        ]
        if len(lines) == 1:
            model, error = self.found[0]
            raise PreflightError(
                f"{model.short_name} ({model.model}): {error.message}", error.remedy
            )
        raise PreflightError("\n".join([f"{len(lines)} models cannot be used:", *lines]))


def _find(model: ModelConfig, options: MergeOptions) -> _Source:
    """The model with its small files; raises PreflightError."""
    local = Path(model.model).expanduser()
    hub = _HUB_ID.fullmatch(model.model)
    if local.exists():
        folder, repo = local.resolve(), None
        if not folder.is_dir():
            raise PreflightError("it is a file", "name the folder that holds the model")
    elif hub is not None:
        patterns = SIDE_FILES + (CODE_FILES if options.trust_remote_code else ())
        repo = hub["repo"]
        folder = _download(repo, hub["revision"], patterns)
    else:
        raise PreflightError("there is no such folder", _nearest(local))
    config = _read_config(folder)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise PreflightError(
            f"it has no tokenizer: none of {', '.join(TOKENIZERS)} is there",
            "add the tokenizer files that it was trained with",
        )
    return _Source(model, folder, repo, config)


def _nearest(path: Path) -> str:
    """A remedy for a path that does not exist."""
    parent = next((each for each in path.parents if each.is_dir()), Path())
    missing = path.relative_to(parent).parts[0] if path.parts else ""
    try:
        close = difflib.get_close_matches(missing, [each.name for each in parent.iterdir()], n=1)
    except OSError:
        close = []
    if close:
        return f"did you mean {parent / close[0]}?"
    return f"give the path of a model folder or a hub id, org/name; {parent.resolve()} exists"


def _read_config(folder: Path) -> Mapping[str, Any]:
    if (folder / "adapter_config.json").is_file() and not (folder / CONFIG).is_file():
        raise PreflightError(
            "it is an adapter (LoRA), not a whole model", "merge it into its base model first"
        )
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError:
        raise PreflightError(
            f"it is not a model folder: it has no {CONFIG}", "name the folder that holds the model"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise PreflightError(f"its {CONFIG} cannot be read: {error}", "fetch it again") from None
    if not isinstance(config, dict) or not _architecture(config):
        raise PreflightError(f"its {CONFIG} names no architecture", "name a transformers model")
    if "quantization_config" in config:
        raise PreflightError("its weights are quantized", "name the model that was quantized")
    return config


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _check_architecture(config: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    for own, wanted in (
        (_architecture(config), _architecture(base)),
        (config.get("model_type"), base.get("model_type")),
    ):
        if own != wanted:
            raise PreflightError(
                f"its architecture is {own}, the base model's is {wanted}",
                "merge fine-tunes of one base model",
            )


def _check_dimensions(config: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """The configs must agree where weights alone do not tell: heads, layers that are not used."""
    for key in _DIMENSIONS:
        own, wanted = config.get(key), base.get(key)
        if None not in {own, wanted} and own != wanted:
            raise PreflightError(
                f"its {CONFIG} says {key} {own}, the base model's says {wanted}",
                "merge fine-tunes of one base model",
            )


def _download(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The snapshot of a hub model, with the files that match; raises PreflightError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"]
            )
        )
    except GatedRepoError:
        message = "the hub asks for a licence to be accepted before it gives this model"
        remedy = f"accept it at https://huggingface.co/{repo} and set HF_TOKEN"
    except RevisionNotFoundError:
        message, remedy = f"the hub has no revision {revision} of it", "name a branch or a commit"
    except RepositoryNotFoundError:
        message = "it is neither a folder here nor a model on the hub"
        remedy = "check the spelling; for a private model, set HF_TOKEN"
    except LocalEntryNotFoundError:
        message = (
            "it is neither a folder here nor complete in the hub's cache, "
            "and the hub cannot be reached"
        )
        remedy = "check the spelling, HF_HOME and HF_HUB_OFFLINE, or download it where the net is"
    except Exception as error:
        # The text of such an error may hold headers; its type is enough to look further.
        message = f"it cannot be downloaded: {type(error).__name__}"
        remedy = f"try `hf download {repo}` to see why"
    raise PreflightError(message, remedy)


def _judge(source: _Source, options: MergeOptions) -> _Candidate:
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
        return _Candidate(source, {}, _configured_vocabulary(source.config))
    weights = read_folder(folder)
    configured = _configured_vocabulary(source.config)
    embedding = _input_embedding(weights)
    if embedding is not None and configured not in (0, embedding.rows):
        raise PreflightError(
            f"its {CONFIG} says vocab_size {configured}, and {embedding.name} has "
            f"{embedding.rows} rows",
            "correct vocab_size, or save the model again",
        )
    return _Candidate(source, weights, configured if embedding is None else embedding.rows)


def _download_weights(repo: str, source: _Source, options: MergeOptions) -> None:
    index = source.folder / INDEX
    patterns: Sequence[str] = (WEIGHTS,)
    if index.is_file():
        patterns = sorted(set(_weight_map(index).values()))
    _download(repo, source.commit, patterns)
    if options.allow_pickle and not index.is_file() and not (source.folder / WEIGHTS).is_file():
        _download(repo, source.commit, PICKLES)


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        return dict(json.loads(index.read_bytes())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreflightError(
            f"its {index.name} cannot be read: {error}", "fetch it again"
        ) from None


def _configured_vocabulary(config: Mapping[str, Any]) -> int:
    """`vocab_size`; 0 where the config leaves it to the library."""
    nested = config.get("text_config")
    value = config.get("vocab_size", nested.get("vocab_size") if isinstance(nested, dict) else None)
    if value is None:
        return 0
    if type(value) is not int or value < 1:
        raise PreflightError(
            f"its {CONFIG} says vocab_size {value!r}", "correct vocab_size, or save the model again"
        )
    return value


def _input_embedding(weights: Weights) -> StoredTensor | None:
    names = [name for end in _INPUT_EMBEDDINGS for name in sorted(weights) if name.endswith(end)]
    return next((weights[name] for name in names if len(weights[name].shape) == 2), None)


def _check_tensors(candidate: _Candidate, base: _Candidate) -> None:
    """Every tensor must have its like in the base; only vocabularies may differ in rows."""
    if not candidate.weights or not base.weights:
        return
    faults = []
    for name in sorted({*candidate.weights, *base.weights}):
        own, wanted = candidate.weights.get(name), base.weights.get(name)
        if own is None and wanted is not None and not _may_lack(wanted, base):
            faults.append(f"{name} is missing")
        elif wanted is None and own is not None and not _may_lack(own, candidate):
            faults.append(f"{name} is not in the base model")
        elif own is not None and wanted is not None and own.shape != wanted.shape:
            rows = (own.rows, wanted.rows) == (candidate.vocabulary, base.vocabulary)
            if not rows or own.shape[1:] != wanted.shape[1:]:
                faults.append(f"{name} is {list(own.shape)}, the base's {list(wanted.shape)}")
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise PreflightError(
            f"its tensors differ from the base model's: {', '.join(faults[:3])}{more}",
            "merge fine-tunes of one base model",
        )


def _may_lack(tensor: StoredTensor, model: _Candidate) -> bool:
    """Whether another model may do without: an output embedding is often tied to the input."""
    tied = len(tensor.shape) == 2 and tensor.rows == model.vocabulary
    return tensor.name.endswith(_COMPUTED_BUFFERS) or (
        tied and not tensor.name.endswith(_INPUT_EMBEDDINGS)
    )


def _check_finite(candidate: _Candidate, known: KnownFiles) -> None:
    """No weight may be NaN or infinite: such a model scores chance and spoils every merge."""
    name = known.not_finite(candidate.weights.values())
    if name is not None:
        raise PreflightError(
            f"tensor {name} holds NaN or infinity",
            "fetch the model again, or take one whose training did not diverge",
        )


def _check_distinct(foundation: Sequence[Resolved]) -> None:
    seen: dict[str, str] = {}
    for model in foundation:
        twin = seen.setdefault(model.foundation.content_id, model.foundation.name)
        if twin != model.foundation.name:
            raise PreflightError(
                f"{twin} and {model.foundation.name} are the same model, file by file",
                "leave one of them out of foundation_models",
            )


def _resolved(candidate: _Candidate, digests: KnownFiles) -> Resolved:
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
