"""Strategies choose the merges of a generation: pure functions of the run's state.

Every `Strategy` that a module of this package defines can be used in a config by its name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from evomerge.domain.events import RunStarted
from evomerge.domain.model import MergeKind
from evomerge.domain.value import Value
from evomerge.plugins import Registry
from evomerge.strategies.strategy import Strategy

__all__ = ["STRATEGIES", "Strategy", "merge_kinds", "options_of"]


def _own() -> dict[str, type[Strategy]]:
    names = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
    found = [kind for name in names for kind in vars(importlib.import_module(name)).values()]
    strategies = [
        kind
        for kind in dict.fromkeys(each for each in found if isinstance(each, type))
        if issubclass(kind, Strategy) and kind is not Strategy
    ]
    return {str(kind.model_fields["name"].default): kind for kind in strategies}


STRATEGIES: Registry[Strategy] = Registry(
    "a strategy",
    Strategy,  # type: ignore[type-abstract]
    _own(),
    "evomerge.strategies",
)


OWN_KINDS = tuple(
    dict.fromkeys(kind for strategy in STRATEGIES.own.values() for kind in strategy.kinds)
)
"""The kinds of merges of evomerge's own strategies."""


def options_of(
    kind: type[Value], at: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The path and the default of every option of a strategy."""
    for key, field in kind.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Value):
            yield from options_of(section, (*at, key))
        else:
            yield (*at, key), field.default


def new_kinds(strategy: Strategy) -> tuple[MergeKind, ...]:
    """The kinds of merges that are not evomerge's own; the journal has to describe them."""
    return tuple(kind for kind in strategy.kinds if kind not in OWN_KINDS)


def merge_kinds(start: RunStarted) -> dict[str, MergeKind]:
    """The kinds of merges of a run and of evomerge, by name."""
    return {kind.name: kind for kind in (*OWN_KINDS, *start.kinds)}
