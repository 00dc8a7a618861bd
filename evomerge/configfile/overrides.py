"""`--set a.b=c`: override one value of a config on the command line, with the file's rules."""

from __future__ import annotations

import re
from typing import Any, get_origin

from evomerge.configfile.document import Document, Fault, KeyPath, Place, dotted
from evomerge.configfile.reading import MAX_DEPTH, NOT_TEXT, read
from evomerge.configfile.shape import is_section, spot_of_path
from evomerge.domain.settings import Spelled

_PART = re.compile(r'"([^"]*)"|([^."]+)')
_KEY = re.compile(r'(?:"[^"]*"|[^."]+)(?:\.(?:"[^"]*"|[^."]+))*')


class _AstrayError(Exception):
    """The path of an override does not exist; the message says why."""


def override(document: Document, text: str) -> None:
    """Apply one override to `document`; faults are added to it."""
    document.overrides.append(text)
    place = Place(len(document.overrides))
    key, equals, value = text.partition("=")
    parts = [quoted or bare for quoted, bare in _PART.findall(key.strip())]
    if (
        NOT_TEXT.search(text)
        or not equals
        or not _KEY.fullmatch(key.strip())
        or len(parts) > MAX_DEPTH
    ):
        expected = "expected KEY=VALUE, such as strategy.k=4 or evaluation.tasks.0.limit=100"
        document.faults.append(Fault(place, (), expected))
        return
    given = read(value, "value") if value.strip() else Document("value")
    try:
        path = _put(document.data, parts, given.data)
    except _AstrayError as error:
        document.faults.append(Fault(place, tuple(parts), str(error)))
        return
    document.faults.extend(
        Fault(place, (*path, *fault.path), fault.message, fault.remedy) for fault in given.faults
    )
    for stale in [known for known in document.places if known[: len(path)] == path]:
        del document.places[stale]
    for length in range(1, len(path)):  # sections created by this override
        document.places.setdefault(path[:length], place)
    document.places[path] = place


def _put(tree: dict[str, Any], parts: list[str], value: Any) -> KeyPath:
    """Set `value` in `tree`; returns its path, with list indices as integers."""
    here: Any = tree
    path: KeyPath = ()
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        key = _fitting(here, path, part)
        path = (*path, key)
        if following is None:
            here[key] = value
        else:
            below = here.get(key) if isinstance(here, dict) else here[key]
            here[key] = here = _entered(below, path, following)
    return path


def _fitting(here: Any, path: KeyPath, part: str) -> str | int:
    """`part` as a key or an index of `here`, which is at `path`."""
    if isinstance(here, dict):
        return part
    if not isinstance(here, list):
        raise _AstrayError(f"`{dotted(path)}` is a single value; it has no `{part}`")
    if not re.fullmatch("[0-9]{1,6}", part):
        raise _AstrayError(f"`{dotted(path)}` is a list: expected a number from 0, not `{part}`")
    if int(part) >= len(here):
        items = "item" if len(here) == 1 else "items"
        raise _AstrayError(f"`{dotted(path)}` has {len(here)} {items}, counted from 0")
    return int(part)


def _entered(below: Any, path: KeyPath, following: str) -> Any:
    """The value at `path`, with a scalar shorthand expanded to its mapping."""
    kind = spot_of_path(path).below
    if below is None:
        if get_origin(kind) in {tuple, list}:
            raise _AstrayError(f"`{dotted(path)}` is not in the file; set the whole list: [...]")
        return {}
    if isinstance(below, str):
        if is_section(kind) and issubclass(kind, Spelled):
            return {kind.main: below}
        if below == following and path[:1] == ("stopping",):
            return {below: {}}
    return below
