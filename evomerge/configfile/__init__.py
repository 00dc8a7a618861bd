"""Config files: parse strict YAML to a `Config`, reporting all problems at once, and write YAML.

Relative paths in a config are relative to the current folder, not to the file; `anchored` makes
them absolute for the copy in the run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evomerge.config import Config
from evomerge.configfile.checking import checked
from evomerge.configfile.document import printable
from evomerge.configfile.editors import json_schema
from evomerge.configfile.foreign import leave_behind, pass_over
from evomerge.configfile.identity import Differences, config_id, differences, identity_of
from evomerge.configfile.overrides import override
from evomerge.configfile.reading import MAX_BYTES, read
from evomerge.configfile.removed import drop_removed
from evomerge.configfile.writing import anchored, dump, placed, tells_nobody
from evomerge.domain.errors import ConfigError, Problem

__all__ = [
    "Differences",
    "anchored",
    "config_id",
    "differences",
    "dump",
    "identity_of",
    "json_schema",
    "load",
    "load_recorded",
    "parse",
    "placed",
    "removed_settings",
    "tells_nobody",
]


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config file and apply `overrides` (`a.b=c`) to it.

    Raises:
        ConfigError: with every problem of the file and the overrides.
    """
    return parse(_text(path), str(path), overrides)


def load_recorded(path: Path) -> Config:
    """Read the copy of its config that a run keeps; what was taken out since is passed over.

    Raises:
        ConfigError: with every problem of the file.
    """
    document = read(_text(path), str(path))
    drop_removed(document)
    pass_over(document)
    return checked(document)


def removed_settings(path: Path) -> tuple[str, ...]:
    """The settings of a run's own copy that ask for what was taken out since, a line each.

    Raises:
        ConfigError: the file cannot be read.
    """
    document = read(_text(path), str(path))
    faults = [*drop_removed(document), *pass_over(document)]
    return tuple(str(problem) for problem in document.refusal(faults).problems)


def parse(text: str, source: str, overrides: Sequence[str] = ()) -> Config:
    """Parse the config in `text`; `source` is its name in messages.

    Raises:
        ConfigError: with every problem of the text and the overrides.
    """
    document = read(text, source)
    if isinstance(document.data, dict):
        for each in overrides:
            override(document, each)
        leave_behind(document)
    document.faults += drop_removed(document)
    return checked(document)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    if len(content) > MAX_BYTES:
        raise _unreadable(path, f"larger than {MAX_BYTES >> 20} MiB; this is no config")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        raise _unreadable(path, "not UTF-8; save it as UTF-8", f":{line}:{column}") from error


def _unreadable(path: Path, why: str, position: str = "") -> ConfigError:
    return ConfigError([Problem(printable(str(path)) + position, "", why)])
