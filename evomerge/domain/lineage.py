"""Ancestry and merge gains of models."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from evomerge.domain.model import Model


def merge_gain(model: Model, models: Mapping[str, Model]) -> float | None:
    """Merge gain: score of the child minus the mean score of its parents, in points.

    None for foundation models, or if a score is missing.
    """
    scores = [models[parent].score for parent in model.parents]
    known = [score for score in scores if score is not None]
    if model.score is None or not known or len(known) < len(scores):
        return None
    return model.score - math.fsum(known) / len(known)


def ancestors(name: str, models: Mapping[str, Model]) -> tuple[str, ...]:
    """The ancestors of `name` in breadth-first order, each once."""
    found: dict[str, None] = {}
    queue = deque(models[name].parents)
    while queue:
        parent = queue.popleft()
        if parent not in found:
            found[parent] = None
            queue.extend(models[parent].parents)
    return tuple(found)


def lineage(name: str, models: Mapping[str, Model], at_most: int) -> str | None:
    """The lineage of `name` as an expression over foundation models, such as `((a × b) × c)`.

    None if it has more than `at_most` names, since it can double with every generation.
    """
    leaves, inner = 0, [name]
    while inner:
        parents = models[inner.pop()].parents
        inner += parents
        leaves += not parents
        if leaves + len(inner) > at_most:
            return None
    return _expression(name, models)


def _expression(name: str, models: Mapping[str, Model]) -> str:
    parents = models[name].parents
    if not parents:
        return name
    return "(" + " × ".join(_expression(parent, models) for parent in parents) + ")"
