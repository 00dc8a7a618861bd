"""A model of a config with its small files (configs, tokenizer) available locally."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from evomerge.adapters.foundation.lora import (
    ADAPTER_CONFIG,
    Lora,
    read_lora,
)
from evomerge.adapters.hub import Hub, Listing
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError
from evomerge.kinship.headers import INDEX

WEIGHTS = "model.safetensors"
PICKLES = ("pytorch_model*.bin",)
CONFIG = "config.json"
CARD = "README.md"
SIDE_FILES = ("*.json", "*.jinja", "tokenizer*", "*.model", "merges.txt", "vocab.txt")
CODE_FILES = ("*.py",)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


_COMPUTING = (
    "rope_theta",
    "rope_type",
    "factor",
    "partial_rotary_factor",
    "sliding_window",
    "max_position_embeddings",
    "rms_norm_eps",
    "layer_norm_eps",
    "hidden_act",
)


@dataclass(frozen=True)
class Source:
    """A model whose small files are available locally.

    Attributes:
        listing: what the hub has of it; None for a local folder.
        config: its `config.json`; for an adapter, that of the base model.
        tokenizer: the folder of its tokenizer; for an adapter, possibly the base model's.
        lora: the adapter; None for a full model.
    """

    model: ModelConfig
    folder: Path
    listing: Listing | None
    config: Mapping[str, Any]
    tokenizer: Path
    lora: Lora | None = None

    @property
    def names(self) -> set[str]:
        """The names of its files, here or on the hub."""
        return set(self.listing.files) if self.listing else names_in(self.folder)

    def size_of(self, files: Iterable[str]) -> int:
        """Bytes of some of them."""
        if self.listing is not None:
            return sum(self.listing.files[name] for name in files)
        return sum((self.folder / name).stat().st_size for name in files)


def find(
    model: ModelConfig,
    options: MergeOptions,
    hub: Hub,
    pin: str | None = None,
    *,
    tokenizer: bool = True,
) -> Source:
    """Find a model and download its small files.

    Args:
        pin: the commit of a hub model; overrides the config's revision.
        tokenizer: whether a full model needs a tokenizer.

    Raises:
        PreflightError: the model does not exist, or cannot be merged.
        StoppedError: the hub does not answer any more.
    """
    local, listing = Path(model.model).expanduser(), None
    if local.exists():
        folder = local.resolve()
        if not folder.is_dir():
            raise PreflightError("it is a file", "name the folder that holds the model")
    elif model.repo is not None:
        try:
            listing = hub.listing(model.repo, pin or model.revision)
        except PreflightError as error:
            if "/" not in model.repo:  # more likely a misspelt folder than a legacy hub id
                error.remedy = nearest(local)
            raise
        patterns = SIDE_FILES + (CODE_FILES if options.trust_remote_code else ())
        folder = hub.fetch(model.short_name, listing, matching(listing.files, patterns))
    else:
        raise PreflightError("there is no such folder", nearest(local))
    if is_adapter(set(listing.files) if listing else names_in(folder)):
        return Source(model, folder, listing, {}, folder, read_lora(folder))
    config = read_config(folder)
    if tokenizer and not has_tokenizer(folder):
        raise PreflightError(
            f"it has no tokenizer: none of {', '.join(TOKENIZERS)} is there",
            "add the tokenizer files that it was trained with",
        )
    return Source(model, folder, listing, config, folder)


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names of files directly in a folder that match one of the patterns, sorted."""
    chosen = tuple(patterns)
    return sorted(
        name for name in names if "/" not in name and any(fnmatch(name, each) for each in chosen)
    )


def names_in(folder: Path) -> set[str]:
    """The names of the files in a folder."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def is_adapter(names: Collection[str]) -> bool:
    """Whether a folder or repository with files of these names has an adapter and no full model."""
    return ADAPTER_CONFIG in names and not matching(names, (WEIGHTS, INDEX, *PICKLES))


def over(source: Source, base: Source) -> Source:
    """An adapter completed with files of its base model; a full model is returned unchanged."""
    if source.lora is None:
        return source
    tokenizer = source.folder if has_tokenizer(source.folder) else base.folder
    return replace(source, config=base.config, tokenizer=tokenizer)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has tokenizer files."""
    return any((folder / name).is_file() for name in TOKENIZERS)


def nearest(path: Path) -> str:
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


def read_config(folder: Path) -> Mapping[str, Any]:
    """The `config.json` of a full, unquantized model; raises PreflightError."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError:
        raise PreflightError(
            f"it is not a model folder: it has no {CONFIG}", "name the folder that holds the model"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise PreflightError(f"its {CONFIG} cannot be read: {error}", "fetch it again") from None
    if not isinstance(config, dict) or not architecture(config):
        raise PreflightError(f"its {CONFIG} names no architecture", "name a transformers model")
    if "quantization_config" in config:
        raise PreflightError("its weights are quantized", "name the model that was quantized")
    return config


def architecture(config: Mapping[str, Any]) -> str:
    """The architecture class in a config; empty if missing."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def configured_vocabulary(config: Mapping[str, Any]) -> int:
    """`vocab_size`; 0 if the config does not set it."""
    nested = config.get("text_config")
    value = config.get("vocab_size", nested.get("vocab_size") if isinstance(nested, dict) else None)
    if value is None:
        return 0
    if type(value) is not int or value < 1:
        raise PreflightError(
            f"its {CONFIG} says vocab_size {value!r}", "correct vocab_size, or save the model again"
        )
    return value


def computing_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config with which the same weights compute something else, where set."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    told = {**config, **(rope if isinstance(rope, dict) else {})}
    if told.get("rope_type") == "default":
        del told["rope_type"]
    return {key: told[key] for key in _COMPUTING if told.get(key) is not None}
