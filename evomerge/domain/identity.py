"""Content ids: versioned hashes of canonical JSON.

Values have the same id if they are equal as JSON, regardless of the order of keys and of 1 or 1.0.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

_DIGITS = 32


def canonical(value: Any) -> Any:
    """`value` with tuples as lists, whole floats as integers and string keys.

    Raises:
        ValueError: a number is not finite, or a value has no JSON form.
    """
    if isinstance(value, bool) or value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not finite, so it cannot be part of an id")
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("keys must be strings to be part of an id")
        return {key: canonical(item) for key, item in value.items()}
    raise ValueError(f"{type(value).__name__} cannot be part of an id")


def canonical_json(value: Any) -> str:
    """`value` as canonical JSON: sorted keys, no spaces, non-ASCII characters unescaped."""
    return json.dumps(
        canonical(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def content_id(kind: str, version: int, value: Any) -> str:
    """The id of `value`: `<kind><version>-<32 hex digits>`; `version` is that of its format."""
    text = f"{kind}/{version}\n{canonical_json(value)}"
    return f"{kind}{version}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}"


def derived_seed(*parts: str | int) -> int:
    """A seed in [0, 2**31), a hash of `parts`."""
    digest = hashlib.sha256("\n".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
