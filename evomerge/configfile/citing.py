"""File and line for faults that are found after a config was read: each names a key or a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from evomerge.config import Config
from evomerge.configfile.document import Document, Fault, KeyPath
from evomerge.configfile.overrides import override
from evomerge.configfile.reading import read
from evomerge.domain.errors import ConfigError, PreflightError

_KEY = re.compile(rf"^((?:{'|'.join(Config.model_fields)})(?:\.\w+|\[\d+\])+)(?=: )", re.MULTILINE)
"""A key in front of a line: `evaluation.tasks.2.metric`, `evaluation.include[0]`."""
_MODEL = re.compile(r"\(([^()]+)\)")
"""What a model's fault has after the model's name, or at its end: its hub id or folder."""


@contextmanager
def citing(path: Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Put file and line before the lines of a PreflightError, see `cited`.

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
    """A message with file and line before each line that begins with a key or names a model."""
    if not _KEY.search(message) and not _MODEL.search(message):
        return message
    try:
        document = _read_again(path, overrides)
    except (OSError, ValueError):
        return message
    models = dict(_models(document))
    return "\n".join(_cited(line, document, models) for line in message.splitlines())


def _cited(line: str, document: Document, models: Mapping[str, KeyPath]) -> str:
    key = _KEY.match(line)
    named = (models.get(text) for text in _MODEL.findall(line))
    place = key_path(key[1]) if key else next(filter(None, named), None)
    return line if place is None else f"{document.where(document.place(place))}: {line}"


def _models(document: Document) -> Iterator[tuple[str, KeyPath]]:
    """The places of the models by hub id or folder, as written and as a whole path."""
    data = document.data if isinstance(document.data, dict) else {}
    listed = data.get("foundation_models")
    several = enumerate(listed) if isinstance(listed, list) else ()
    items: list[tuple[KeyPath, object]] = [(("base_model",), data.get("base_model"))]
    items += [(("foundation_models", number), each) for number, each in several]
    for place, item in items:
        text = item.get("model") if isinstance(item, dict) else item
        if isinstance(text, str):
            yield text, place
            yield str(Path.cwd() / Path(text).expanduser()), place


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
