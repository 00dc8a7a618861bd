"""Conversion of task data to plain JSON: numpy scalars, functions, records, data set rows."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evomerge.domain.identity import canonical_json

_MAPPINGS = (dict, Mapping)  # isinstance with the abstract class alone takes ten times as long


def plain(value: Any) -> Any:  # noqa: PLR0911, one line a type
    """`value` as JSON, the same in every process: without addresses, NaN or infinities.

    A function becomes the digest of the file that defines it, so that changes of functions that it
    calls there count too; any other object becomes the name of its type.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if isinstance(value, _MAPPINGS):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=canonical_json)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return _code(value) if callable(value) else _type_name(type(value))


def digest(values: Iterable[Any]) -> str:
    """The SHA-256 of the canonical JSON of `values`, one per line, in order."""
    state = hashlib.sha256()
    for value in values:
        state.update(canonical_json(plain(value)).encode())
        state.update(b"\n")
    return state.hexdigest()


def _code(function: Any) -> Any:
    if isinstance(function, functools.partial):
        return [plain(function.func), plain(function.args), plain(function.keywords)]
    target = inspect.unwrap(function)
    name = getattr(target, "__qualname__", None) or _type_name(type(target))
    try:
        text = Path(inspect.getsourcefile(target) or "").read_bytes()
    except (OSError, TypeError):
        return name
    return {"function": name, "file": hashlib.sha256(text).hexdigest()}


def _type_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
