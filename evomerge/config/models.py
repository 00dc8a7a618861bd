"""Sources and names of the foundation models and the base model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from evomerge.config.texts import ModelName, is_file_name, path_fault
from evomerge.domain.settings import Fault, Spelled, identity, refuse, refuse_any, runtime

TOKENIZERS = ("auto", "union", "base", "copy")
"""Keywords of `merge.tokenizer`, which are not allowed as names of foundation models."""

_OF_A_CHILD = re.compile(r"(?i)model-[0-9]+-([0-9]+|exp)")
_HUB_ID = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_.-]{0,95}/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}"
    r"(@[A-Za-z0-9][A-Za-z0-9_./-]{0,254})?"
)


def is_path(model: str) -> bool:
    """Whether `model` is a path: it starts with `/`, `./`, `../` or `~`, or has several slashes."""
    begins = model.startswith(("/", "./", "../", "~")) or model in {".", ".."}
    return begins or model.partition("@")[0].count("/") > 1


class ModelConfig(Spelled):
    """A foundation model or the base model: a hub id (`org/name[@revision]`) or a local path."""

    main = "model"

    model: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = runtime(
        description="hub id with optional @revision, or a path (relative to the current folder)"
    )
    name: ModelName | None = identity(
        default=None, description="short name; default: last part of `model`"
    )

    @property
    def short_name(self) -> str:
        """`name`, or the last part of the hub id or path, without a revision."""
        return self.name or Path(self.source).name

    @property
    def source(self) -> str:
        """The hub id or path, without a revision."""
        return self.model if is_path(self.model) else self.model.partition("@")[0]

    @property
    def repo(self) -> str | None:
        """The hub repository (`org/name` or `gpt2`); None for a path.

        A folder of that name in the current folder takes precedence.
        """
        return None if is_path(self.model) else self.source

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit after the `@` of a hub id."""
        return None if is_path(self.model) else self.model.partition("@")[2] or None

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if "://" in self.model:
            refuse((("model",), "expected a hub id (org/name[@revision]) or a path, got a URL"))
        if is_path(self.model):
            if fault := path_fault(Path(self.model)):
                refuse((("model",), fault))
        elif ".." in self.model or not _HUB_ID.fullmatch(self.model):
            what = "is neither a hub id (org/name[@revision]) nor a path (/, ./, ../ or ~ first)"
            refuse((("model",), f"{self.model[:80]!r} {what}"))
        if self.name is None and not is_file_name(self.short_name):
            what = f"{self.short_name[:80]!r} is not a valid name; set `name`"
            refuse((("model",), what))
        return self


def _told_apart(models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
    refuse_any(_name_faults(models))
    return models


def _name_faults(models: tuple[ModelConfig, ...]) -> Iterator[Fault]:
    names: dict[str, int] = {}
    models_seen: dict[str, int] = {}
    for i, model in enumerate(models):
        name, at = model.short_name, (i, "model" if model.name is None else "name")
        if _OF_A_CHILD.fullmatch(name):
            yield at, f"the name {name!r} is reserved for a child; give this model another `name`"
        if name.lower() in TOKENIZERS:
            yield at, f"the name {name!r} is a keyword of `merge.tokenizer`; set another `name`"
        namesake, same = names.setdefault(name.lower(), i), models_seen.setdefault(model.model, i)
        if same != i:
            yield (i, "model"), f"the same model as foundation_models.{same}"
        elif namesake != i:
            yield at, f"foundation_models.{namesake} is also named {name!r}; set another `name`"


FoundationModels = Annotated[
    tuple[ModelConfig, ...], Field(min_length=2, max_length=100), AfterValidator(_told_apart)
]
