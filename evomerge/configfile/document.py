"""A parsed config file: its values and their locations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from evomerge.domain.errors import ConfigError, Problem

KeyPath = tuple[str | int, ...]

_SECRET_KEY = re.compile(r"(?i)(token|key|auth)\b|^auth|secret|passw|credential")
_LOOKS_SECRET = re.compile(r"\b(hf_|sk-|gh[pousr]_)[A-Za-z0-9_-]{16,}")
_BARE_KEY = re.compile(r"[^\s.\"'=]+")


@dataclass(frozen=True, order=True)
class Place:
    """The location of a value; sorts by the file's lines, then by overrides.

    Attributes:
        source: 0 for the file, n for the n-th override.
        line: counted from 1; 0 for the whole file.
    """

    source: int = 0
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class Fault:
    """A problem before it is formatted with the name of its file."""

    place: Place
    path: KeyPath
    message: str
    remedy: str | None = None
    exact: bool = False
    """Whether to report the column, for errors in the YAML syntax."""


@dataclass
class Document:
    """The values of a config with the location of every key and list item.

    Attributes:
        name: name of the file in messages.
        places: locations by path; a mapping's value has the location of its key.
        faults: faults so far; reading continues after a fault, so that all are reported at once.
        overrides: texts of the applied overrides.
    """

    name: str
    data: Any = None
    places: dict[KeyPath, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    def place(self, path: KeyPath) -> Place:
        """The location of `path`, or of its nearest enclosing value."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place())

    def value(self, path: KeyPath) -> Any:
        """The value at `path`.

        Raises:
            LookupError: there is no such value.
        """
        here = self.data
        for part in path:
            if not isinstance(here, dict | list):
                raise LookupError(path)  # noqa: TRY004 - as a missing key or index
            here = here[part]  # type: ignore[index]
        return here

    def refusal(self, faults: Iterable[Fault]) -> ConfigError:
        """All `faults` as one error, in the order of the file."""
        ordered = sorted(faults, key=lambda fault: fault.place)
        return ConfigError([self._problem(fault) for fault in ordered])

    def _problem(self, fault: Fault) -> Problem:
        where = self.where(fault.place, exact=fault.exact)
        return Problem(where, dotted(fault.path), hidden(fault.message), fault.remedy)

    def where(self, place: Place, *, exact: bool = False) -> str:
        """`file:line`, `file:line:column` or the override."""
        if place.source:
            return f"--set {shown(self.overrides[place.source - 1])}"
        name = printable(self.name)
        if not place.line:
            return name
        return f"{name}:{place.line}:{place.column}" if exact else f"{name}:{place.line}"


def dotted(path: KeyPath) -> str:
    """`a.b.0.c`, the notation of overrides; a key with a dot or a space is quoted."""
    parts = (str(part) for part in path)
    return ".".join(
        printable(part) if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in parts
    )


def shown(override: str) -> str:
    """An override for a message, truncated and without secrets."""
    key, equals, value = override.partition("=")
    if _SECRET_KEY.search(key.rpartition(".")[2]):
        value = "…"
    text = hidden(printable(key + equals + value))
    return text if len(text) <= 80 else f"{text[:79]}…"


def hidden(text: str) -> str:
    """`text` without strings that look like tokens, since messages end up in logs and issues."""
    return _LOOKS_SECRET.sub("…", text)


def printable(text: str) -> str:
    """`text` on one line, with control characters escaped."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in safe)
