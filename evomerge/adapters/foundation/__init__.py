"""Resolution of a config's models to local folders with pinned content, before a run starts.

Nothing here imports torch; weights are checked by the headers of their files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from evomerge.adapters.file_checks import FileChecks
from evomerge.adapters.foundation.compatibility import (
    check_dimensions,
    check_distinct,
    check_tensors,
)
from evomerge.adapters.foundation.examination import Examination, Merging, examine, summary
from evomerge.adapters.foundation.source import Source
from evomerge.adapters.foundation.weights import (
    ReadableModel,
    Resolved,
    check_finite,
    is_pickled,
    judge,
    own_id,
    resolved,
    weight_files,
)
from evomerge.adapters.hub import Hub
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding

__all__ = [
    "Examination",
    "Merging",
    "Resolved",
    "examine",
    "fetch_all",
    "resolve_all",
    "summary",
]

Convert = Callable[[str, str, Callable[[], Path]], Path]


def _ignore(told: object) -> None:
    """No-op callback."""


def _no_store(name: str, content_id: str, fetch: Callable[[], Path]) -> Path:
    raise PreflightError(
        "its weights are pickled, and only a run converts them", "name a model with safetensors"
    )


def resolve_all(
    base: ModelConfig,
    foundation: Sequence[ModelConfig],
    options: MergeOptions,
    digests: Path,
    hub: Hub,
    checking: Callable[[str], None] = _ignore,
    *,
    merging: Merging = Merging(),  # noqa: B008 - it is frozen
    warn: Callable[[Finding], None] = _ignore,
) -> tuple[Resolved, ...]:
    """Examine the base model and the foundation models, then `fetch_all`.

    Raises:
        PreflightError: models are missing, damaged or incompatible; it lists all of them.
        StoppedError: the hub does not answer any more.
    """
    found = examine([base, *foundation], options, merging, {}, hub, checking)
    found.faults.raise_any()
    for finding in found.warnings:
        warn(finding)
    return fetch_all(found, options, FileChecks(digests), hub, checking)


def fetch_all(
    found: Examination,
    options: MergeOptions,
    known: FileChecks,
    hub: Hub,
    checking: Callable[[str], None] = _ignore,
    convert: Convert = _no_store,
) -> tuple[Resolved, ...]:
    """The examined models with all their weights here: the base, then in the config's order.

    Weights of the hub come from the cache of huggingface_hub, or into it; pickled ones are
    converted. Every weight is read.

    Args:
        known: the cache of file checks.
        checking: callback with the name of each check.
        convert: has the safetensors of a pickled model: called with its name, its content id, and
            what fetches it and says where it is; returns their folder.

    Raises:
        PreflightError: models are missing, damaged or incompatible; it lists all of them.
        StoppedError: the hub does not answer any more.
    """
    engine = f"peft {version('peft')}"
    candidates: dict[int, ReadableModel] = {}
    identities: dict[int, str] = {}
    for place, source in found.sources.items():
        base, name = candidates.get(0), source.model.short_name
        if place and base is None:
            break  # without a valid base model the others cannot be checked
        with found.faults.of(source.model):
            files = weight_files(source, options)
            fetch = partial(_fetched, source, files, hub, checking)
            if source.lora is None and is_pickled(files):
                checking(f"model {name}: pickled weights, kept as safetensors")
                identities[place] = own_id(source, files, known)
                made = convert(name, identities[place], fetch)
                source = replace(source, folder=made, tokenizer=made, listing=None)  # noqa: PLW2901
            else:
                fetch()
                identities[place] = own_id(source, files, known)
            candidate = judge(source, options, base)
            if base is not None and not options.allow_crimes:
                check_tensors(candidate, base)
                check_dimensions(source.config, base.source.config)
            checking(f"weights of {name} ({place + 1} of {len(found.sources)})")
            check_finite(candidate, known)
            candidates[place] = candidate
    found.faults.raise_any()
    first = resolved(candidates[0], identities[0], None, engine)
    models = [
        resolved(each, identities[place], first, engine)
        for place, each in candidates.items()
        if place
    ]
    known.save()
    check_distinct(models)
    return (first, *models)


def _fetched(
    source: Source, files: Sequence[str], hub: Hub, checking: Callable[[str], None]
) -> Path:
    """The folder of a model, with these files in it."""
    if source.listing is not None and (missing := source.listing.missing(files)):
        size = sum(missing.values()) / 1e9
        checking(f"model {source.model.short_name}: fetching {len(missing)} files, {size:.2f} GB")
        hub.fetch(source.model.short_name, source.listing, files)
    return source.folder
