"""File and line for faults that are found after a config was read: each names its key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evomerge.config import Config
from evomerge.configfile.document import Document, Fault, KeyPath
from evomerge.configfile.overrides import override
from evomerge.configfile.reading import read
from evomerge.domain.errors import ConfigError, PreflightError

_KEY = re.compile(rf"^((?:{'|'.join(Config.model_fields)})(?:\.\w+|\[\d+\])+)(?=: )", re.MULTILINE)
"""A key in front of a line: `evaluation.tasks.2.metric`, `evaluation.include[0]`."""


@contextmanager
def citing(path: Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Put file and line before every key with which a line of a PreflightError begins.

    Args:
        path: the config file; it is read again only after an error.
        overrides: those that were applied.
    """
    try:
        yield
    except PreflightError as error:
        error.message = cited(error.message, path, overrides)
        raise


def cited(message: str, path: Path, overrides: Sequence[str] = ()) -> str:
    """A message with file and line before every key with which a line begins."""
    if not _KEY.search(message):
        return message
    try:
        document = _read_again(path, overrides)
    except (OSError, ValueError):
        return message
    return _KEY.sub(
        lambda found: f"{document.where(document.place(key_path(found[1])))}: {found[1]}", message
    )


def refusal(
    path: Path, overrides: Sequence[str], faults: Iterable[tuple[str, str, str | None]]
) -> ConfigError:
    """Faults of a config that was read, as one error in the order of the file.

    Args:
        faults: key, message and remedy of each.
    """
    document = _read_again(path, overrides)
    return document.refusal(
        Fault(document.place(key_path(key)), key_path(key), message, remedy)
        for key, message, remedy in faults
    )


def key_path(key: str) -> KeyPath:
    """`a.b[0].c` as the parts of a path."""
    parts = re.findall(r"\w+", key)
    return tuple(int(part) if part.isdigit() else part for part in parts)


def _read_again(path: Path, overrides: Sequence[str]) -> Document:
    document = read(path.read_text(encoding="utf-8"), str(path))
    for each in overrides:
        override(document, each)
    return document
