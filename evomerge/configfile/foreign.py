"""Options of a strategy that is not the one that a config names.

In a file they are faults. They are passed over where nobody wrote them for it: `--set
strategy.name=greedy` leaves the file's other options of its own strategy behind, and earlier
versions wrote those of all strategies into the config that a run keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from evomerge.config import DEFAULT_STRATEGY
from evomerge.configfile.document import Document, Fault, KeyPath
from evomerge.strategies import STRATEGIES, options_of

_AT = "strategy"


def leave_behind(document: Document) -> None:
    """Remove what the file says for its own strategy, where an override names another one."""
    if document.place((_AT, "name")).source:
        for path, _, _ in _foreign(document):
            if not document.place(path).source:
                _remove(document, path)


def pass_over(document: Document) -> list[Fault]:
    """Remove all options of other strategies; a fault for each that is not at its default."""
    faults = []
    for path, value, default in _foreign(document):
        if value != json.loads(json.dumps(default)):
            name = document.data[_AT].get("name", DEFAULT_STRATEGY)
            told = f"{name} has no such option: it changed nothing"
            faults.append(Fault(document.place(path), path, told))
        _remove(document, path)
    return faults


def _foreign(document: Document) -> Iterator[tuple[KeyPath, Any, Any]]:
    """(path, value, default) of every option that is another strategy's and not the named one's."""
    tree = document.data.get(_AT) if isinstance(document.data, dict) else None
    if not isinstance(tree, dict):
        return
    named = STRATEGIES.own.get(str(tree.get("name", DEFAULT_STRATEGY)))
    own = set() if named is None else {path for path, _ in options_of(named)}
    others = dict(each for kind in STRATEGIES.own.values() for each in options_of(kind))
    for path, default in others.items():
        if path in own or len(path) == 1:
            continue
        try:
            yield (_AT, *path), document.value((_AT, *path)), default
        except (LookupError, TypeError):
            continue


def _remove(document: Document, path: KeyPath) -> None:
    """Remove a value, and the sections above it that it leaves empty."""
    *above, key = path
    section = document.value(tuple(above))
    del section[key]
    if not section and len(above) > 1:
        _remove(document, tuple(above))
