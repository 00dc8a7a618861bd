"""The structure of the config schema, derived from the types: keys, and look-up by path.

pydantic's error locations contain its union tags; `spot` removes them.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Tag
from pydantic.fields import FieldInfo

from evomerge.config import Config
from evomerge.configfile.document import KeyPath
from evomerge.domain.value import Value
from evomerge.stopping import CRITERIA, Criterion
from evomerge.strategies import STRATEGIES, Strategy

Section = type[Value]


@dataclass(frozen=True)
class Spot:
    """A place in the schema.

    Attributes:
        path: keys and list indices only.
        section: the section that the last key belongs to, or would belong to.
        below: the type of the value there; None if the schema does not define it.
    """

    path: KeyPath
    section: Section | None
    below: Any


def key_of(name: str, field: FieldInfo) -> str:
    """The YAML key of a field."""
    return field.alias or name


def fields(section: Section) -> dict[str, FieldInfo]:
    """The fields of a section by their keys."""
    return {key_of(name, field): field for name, field in section.model_fields.items()}


def is_section(kind: Any) -> bool:
    """Whether a type is a section of the config."""
    return isinstance(kind, type) and issubclass(kind, Value)


def spot(location: KeyPath, root: Section = Config) -> Spot:
    """The place in the schema of pydantic's error `location`, relative to `root`."""
    path: list[str | int] = []
    section: Section | None = None
    here: Any = root
    for part in location:
        choices = alternatives(here)
        if len(choices) > 1:
            here = next((choice for choice in choices if _tagged(choice, part)), None)
            continue
        if part == "[key]":
            break
        path.append(part)
        here, section = _step(choices[0], part)
    return Spot(tuple(path), section, here)


def spot_of_path(path: KeyPath) -> Spot:
    """The place in the schema of a path of keys; unknown below a union."""
    section: Section | None = None
    here: Any = Config
    for part in path:
        choices = alternatives(here)
        here, section = _step(choices[0], part) if len(choices) == 1 else (None, None)
    return Spot(path, section, here)


def alternatives(kind: Any) -> list[Any]:
    """The members of a union without `None`; for any other type, a list of that type.

    For a strategy these are the built-in ones; those of other packages are resolved by name.
    """
    bare = _bare(kind)
    if bare is Strategy:
        return [*STRATEGIES.own.values()]
    if get_origin(bare) not in {Union, types.UnionType}:
        return [kind]
    return [member for member in get_args(bare) if member is not type(None)]


def _bare(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _tagged(choice: Any, part: str | int) -> bool:
    marks = get_args(choice)[1:] if get_origin(choice) is Annotated else ()
    if any(isinstance(mark, Tag) for mark in marks):
        return any(isinstance(mark, Tag) and mark.tag == part for mark in marks)
    kind = _bare(choice)
    return is_section(kind) and part in names(kind)


def names(section: Section) -> tuple[str, ...]:
    """The merge methods or the strategy that a section belongs to; empty for other sections."""
    for key in ("method", "name"):
        field = section.model_fields.get(key)
        literal = None if field is None else field.annotation
        if get_origin(literal) is Literal:
            return get_args(literal)
    return ()


def _step(kind: Any, part: str | int) -> tuple[Any, Section | None]:
    bare = _bare(kind)
    if is_section(bare):
        field = fields(bare).get(str(part))
        return (None if field is None else field.annotation), bare
    inner = get_args(bare)
    if get_origin(bare) in {tuple, list} and isinstance(part, int):
        return inner[0], None
    if get_origin(bare) is dict:
        return inner[1], None
    return None, None


@cache
def homes() -> dict[str, tuple[tuple[str, tuple[str, ...]], ...]]:
    """Key -> (dotted path, merge methods or strategies that have it there), for every key."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for path, of in _keys(Config, "", ()):
        places = found.setdefault(path.rpartition(".")[2], {})
        places[path] = (*places.get(path, ()), *of)
    return {key: tuple(places.items()) for key, places in found.items()}


def _keys(kind: Any, path: str, of: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for choice in alternatives(kind):
        bare = _bare(choice)
        if bare is Criterion:
            for name, criterion in CRITERIA.own.items():
                yield f"{path}.{name}", ()
                for key in criterion.model_fields.keys() - {"name", criterion.main}:
                    yield f"{path}.{name}.{key}", ()
        elif is_section(bare):
            here = names(bare) or of
            for key, field in fields(bare).items():
                below = f"{path}.{key}" if path else key
                yield below, here
                yield from _keys(field.annotation, below, here)
        elif get_origin(bare) in {tuple, list}:
            yield from _keys(get_args(bare)[0], f"{path}.N", of)
