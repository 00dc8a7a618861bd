"""Resolution of a config's models to local folders with pinned content, before a run starts.

Nothing here imports torch; weights are checked by the headers of their files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from evomerge.adapters.file_checks import FileChecks
from evomerge.adapters.foundation.compatibility import (
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
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.finding import Finding

__all__ = ["Examination", "Merging", "Resolved", "examine", "resolve_all", "summary"]


def _ignore(told: object) -> None:
    """No-op callback."""


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
    """Resolve and check the base model, then the foundation models in the config's order.

    Hub models come from the cache of huggingface_hub (HF_HOME, HF_HUB_OFFLINE, HF_TOKEN), pinned
    to a commit. Missing files are downloaded; weights only after the small files and the headers on
    the hub have passed all checks.

    Args:
        digests: file of the cache of file checks, see `file_checks`.
        checking: callback with the name of each check.
        pins: commits by the config's name of a model; a resumed run keeps its commits.
        warn: callback for findings that degrade merges without failing them.

    Raises:
        PreflightError: models are missing, damaged or incompatible; it lists all of them.
    """
    found = examine([base, *foundation], options, merging, pins, checking)
    found.faults.raise_any()
    for finding in found.warnings:
        warn(finding)
    candidates = _downloaded(found, options, checking)
    known = FileChecks(digests)
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
    """Download the weights of all models; raises PreflightError."""
    candidates: dict[int, ReadableModel] = {}
    for place, source in found.sources.items():
        base = candidates.get(0)
        if source.repo is None and place in found.candidates:
            candidates[place] = found.candidates[place]
            continue
        if place and base is None:
            break  # without a valid base model the others cannot be checked
        checking(f"model {source.model.short_name}: fetching what is missing")
        with found.faults.of(source.model):
            candidate = judge(source, options, base)
            if base is not None and not options.allow_crimes:
                check_tensors(candidate, base)
                check_dimensions(source.config, base.source.config)
            candidates[place] = candidate
    found.faults.raise_any()
    return list(candidates.values())
