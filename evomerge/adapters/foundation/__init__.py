"""From the models that a config names to folders with pinned content, before any work is done.

Nothing here imports torch; weights are judged by the headers of their files alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from evomerge.adapters.foundation.agreement import (
    check_dimensions,
    check_distinct,
    check_tensors,
)
from evomerge.adapters.foundation.examination import Examination, Merging, examine, summary
from evomerge.adapters.foundation.weights import (
    ReadableModel,
    Resolved,
    check_finite,
    judge,
    resolved,
)
from evomerge.adapters.known_files import KnownFiles
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.finding import Finding

__all__ = ["Examination", "Merging", "Resolved", "examine", "resolve_all", "summary"]


def _ignore(told: object) -> None:
    """Nobody wants to know."""


def resolve_all(
    base: ModelConfig,
    foundation: Sequence[ModelConfig],
    options: MergeOptions,
    digests: Path,
    checking: Callable[[str], None] = _ignore,
    *,
    merging: Merging = Merging(),  # noqa: B008 - it is frozen
    pins: Mapping[str, str] = MappingProxyType({}),
    warn: Callable[[Finding], None] = _ignore,
) -> tuple[Resolved, ...]:
    """The base model, then the foundation models in their order, each fit for merging.

    Hub models come from the cache of huggingface_hub (HF_HOME, HF_HUB_OFFLINE, HF_TOKEN), pinned
    to a commit. What is missing is downloaded; weights only when neither a small file nor a
    header on the hub speaks against it.

    Args:
        digests: file that remembers what reading the weights told, see `known_files`.
        checking: told what is looked at next.
        pins: commits by the config's name of a model: a run goes on with those it began with.
        warn: is told what makes merges worse without making them fail.

    Raises:
        PreflightError: models are missing, damaged, or do not fit together; it lists all of them.
    """
    found = examine([base, *foundation], options, merging, pins, checking)
    found.faults.raise_any()
    for finding in found.warnings:
        warn(finding)
    candidates = _downloaded(found, options, checking)
    known = KnownFiles(digests)
    for place, candidate in enumerate(candidates, start=1):
        name = candidate.source.model.short_name
        checking(f"weights of {name} ({place} of {len(candidates)})")
        with found.faults.of(candidate.source.model):
            check_finite(candidate, known)
    found.faults.raise_any()
    engine = f"peft {version('peft')}"
    first = resolved(candidates[0], known, None, engine)
    models = (first, *(resolved(each, known, first, engine) for each in candidates[1:]))
    known.save()
    check_distinct(models[1:])
    return models


def _downloaded(
    found: Examination, options: MergeOptions, checking: Callable[[str], None]
) -> list[ReadableModel]:
    """Every model with its weights here; raises PreflightError."""
    candidates: dict[int, ReadableModel] = {}
    for place, source in found.sources.items():
        base = candidates.get(0)
        if source.repo is None and place in found.candidates:
            candidates[place] = found.candidates[place]
            continue
        if place and base is None:
            break  # nothing can be said of models whose base model is at fault
        checking(f"model {source.model.short_name}: fetching what is missing")
        with found.faults.of(source.model):
            candidate = judge(source, options, base)
            if base is not None and not options.allow_crimes:
                check_tensors(candidate, base)
                check_dimensions(source.config, base.source.config)
            candidates[place] = candidate
    found.faults.raise_any()
    return list(candidates.values())
