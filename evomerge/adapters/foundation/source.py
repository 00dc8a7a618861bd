"""A model of a config with its small files (configs, tokenizer) available locally."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evomerge.adapters.foundation.lora import (
    ADAPTER_CONFIG,
    ADAPTER_PICKLE,
    ADAPTER_WEIGHTS,
    Lora,
    read_lora,
)
from evomerge.adapters.hub import download, has_file
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError
from evomerge.kinship.headers import INDEX

WEIGHTS = "model.safetensors"
PICKLES = ("pytorch_model*.bin",)
CONFIG = "config.json"
SIDE_FILES = ("*.json", "*.jinja", "tokenizer*", "*.model", "merges.txt", "vocab.txt")
CODE_FILES = ("*.py",)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


@dataclass(frozen=True)
class Source:
    """A model whose small files are available locally.

    Attributes:
        repo: hub id; None for a local folder.
        config: its `config.json`; for an adapter, that of the base model.
        tokenizer: the folder of its tokenizer; for an adapter, possibly the base model's.
        lora: the adapter; None for a full model.
    """

    model: ModelConfig
    folder: Path
    repo: str | None
    config: Mapping[str, Any]
    tokenizer: Path
    lora: Lora | None = None

    @property
    def commit(self) -> str:
        """The hub commit of the snapshot in `folder`."""
        return self.folder.name


def find(
    model: ModelConfig, options: MergeOptions, pin: str | None = None, *, tokenizer: bool = True
) -> Source:
    """Find a model and download its small files.

    Args:
        pin: the commit of a hub model; overrides the config's revision.
        tokenizer: whether a full model needs a tokenizer.

    Raises:
        PreflightError: the model does not exist, or cannot be merged.
    """
    local = Path(model.model).expanduser()
    if local.exists():
        folder, repo = local.resolve(), None
        if not folder.is_dir():
            raise PreflightError("it is a file", "name the folder that holds the model")
    elif model.repo is not None:
        patterns = SIDE_FILES + (CODE_FILES if options.trust_remote_code else ())
        repo = model.repo
        try:
            folder = download(repo, pin or model.revision, patterns)
        except PreflightError as error:
            if "/" not in repo:  # more likely a misspelt folder than a legacy hub id
                error.remedy = _nearest(local)
            raise
    else:
        raise PreflightError("there is no such folder", _nearest(local))
    if is_adapter(folder, repo):
        return Source(model, folder, repo, {}, folder, read_lora(folder))
    config = read_config(folder)
    if tokenizer and not has_tokenizer(folder):
        raise PreflightError(
            f"it has no tokenizer: none of {', '.join(TOKENIZERS)} is there",
            "add the tokenizer files that it was trained with",
        )
    return Source(model, folder, repo, config, folder)


def is_adapter(folder: Path, repo: str | None = None) -> bool:
    """Whether a folder has an adapter and no full model.

    Args:
        repo: hub id, if `folder` is a snapshot that may lack weights.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    if any(path for name in (WEIGHTS, INDEX, *PICKLES) for path in folder.glob(name)):
        return False
    held = any((folder / name).is_file() for name in (ADAPTER_WEIGHTS, ADAPTER_PICKLE))
    if repo is None or held or not (folder / CONFIG).is_file():
        return True
    return not has_file(repo, folder.name, WEIGHTS)


def over(source: Source, base: Source) -> Source:
    """An adapter completed with files of its base model; a full model is returned unchanged."""
    if source.lora is None:
        return source
    tokenizer = source.folder if has_tokenizer(source.folder) else base.folder
    return replace(source, config=base.config, tokenizer=tokenizer)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has tokenizer files."""
    return any((folder / name).is_file() for name in TOKENIZERS)


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
