"""How a rule of the schema refuses a value: every fault with its own place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from pydantic_core import PydanticCustomError

KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str]
"""Where, from the value under validation, and what is wrong there."""


def refuse(*faults: Fault) -> NoReturn:
    """Refuse a value for every one of `faults`, each with its own place."""
    text = "; ".join(
        f"{'.'.join(map(str, path))}: {what}" if path else what for path, what in faults
    )
    raise PydanticCustomError("refused", "{text}", {"text": text, "faults": faults})


def refuse_any(faults: Iterable[Fault]) -> None:
    """Refuse a value if there are `faults`."""
    if found := tuple(faults):
        refuse(*found)
