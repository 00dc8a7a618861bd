"""Evaluation warnings of a run, one sentence per kind and task instead of one per model."""

from __future__ import annotations

from collections.abc import Iterable

from evomerge.domain.model import Model
from evomerge.domain.scores import EvaluationWarning


def warning_summaries(models: Iterable[Model]) -> tuple[str, ...]:
    """One sentence per kind of warning and task: the worst case and the number of models."""
    found: dict[tuple[str, str], list[tuple[EvaluationWarning, str]]] = {}
    for model in models:
        for warning in model.warnings:
            found.setdefault((warning.kind, warning.task), []).append((warning, model.name))
    return tuple(_summary(each) for each in found.values())


def _summary(each: list[tuple[EvaluationWarning, str]]) -> str:
    worst, name = max(each, key=lambda item: item[0].count / item[0].total)
    names = {model for _, model in each}
    if len(names) == 1:
        return f"{worst.sentence} ({name})"
    alike = all((item.count, item.total) == (worst.count, worst.total) for item, _ in each)
    most = "" if alike else f", worst in {name}"
    share = worst.sentence if alike else worst.sentence.replace(": ", ": up to ", 1)
    return f"{share} ({len(names)} models{most})"
