"""The reference of every config key, as Markdown, from the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

_TABLE = ["| key | default | result | meaning |", "| --- | --- | --- | --- |"]
_HEAD = """\
# Every key of a config

Made by `evomerge schema --markdown`; a test keeps it true. **Result**: a change of this key can
change a number, so it belongs to the identity of a run, and a run that has begun refuses it; the
other keys can be changed at any time. A key without a default must be given.
"""


def reference(schema: Schema) -> str:
    """The reference: a section for each mapping, a table row for each key.

    Alternative mappings, such as the merge methods and the strategies, share one section: first
    their common keys, then those of each alternative.

    Args:
        schema: the result of `evomerge.configfile.json_schema`.
    """
    places: dict[str, list[_Mapping]] = {}
    for mapping in _mappings(schema):
        places.setdefault(mapping.path, []).append(mapping)
    sections = (
        _section(path, found, len(places[path.partition(".")[0]])) for path, found in places.items()
    )
    return "\n".join([_HEAD, *sections])


@dataclass(frozen=True)
class _Mapping:
    """One mapping of the config.

    Attributes:
        path: where it stands.
        of: the merge method or strategy that has it, as a config names it: `method: ties`.
        rows: one for each key.
        meaning: of a strategy.
    """

    path: str
    of: str
    rows: tuple[str, ...]
    meaning: str = ""


def _mappings(schema: Schema) -> Iterator[_Mapping]:
    """Every mapping, top level first, then depth first in the order of the keys."""
    queue: list[tuple[str, str, Schema]] = [("", "", schema)]
    while queue:
        path, of, section = queue.pop(0)
        if "properties" not in section:
            queue = [*((path, of, each) for each in _below(section, schema)), *queue]
            continue
        of, meaning = _named(section) or (of, "")
        fields = _fields(section)
        yield _Mapping(path, of, tuple(_row(*field) for field in fields), meaning)
        nested = [
            (f"{path}.{key}".lstrip("."), of, each)
            for key, field, _ in fields
            for each in ([field] if "properties" in field else _below(field, schema))
        ]
        queue = [*nested, *queue]


def _section(path: str, mappings: list[_Mapping], everyone: int) -> str:
    groups: dict[tuple[str, tuple[str, ...]], list[_Mapping]] = {}
    for mapping in mappings:
        groups.setdefault((mapping.meaning, mapping.rows), []).append(mapping)
    shared = [row for row in mappings[0].rows if all(row in rows for _, rows in groups)]
    if len(mappings) < everyone and len(groups) == 1 and mappings[0].of:
        shared = []  # some of the methods or strategies have no such section
    blocks = [f"## {f'`{path}`' if path else 'Top level'}", ""]
    if shared:
        blocks += [*_TABLE, *shared, ""]
    others: list[str] = []
    for (meaning, rows), alike in groups.items():
        own = [row for row in rows if row not in shared]
        kind, names = alike[0].of.partition(": ")[0], [m.of.partition(": ")[2] for m in alike]
        if kind and (own or meaning):
            blocks += [f"With `{kind}: {' | '.join(names)}`: {meaning}".rstrip(), ""]
            blocks += [*_TABLE, *own, ""] if own else []
        else:
            others += own
    return "\n".join([*blocks, *([*_TABLE, *others, ""] if others else [])])


def _named(section: Schema) -> tuple[str, str] | None:
    """The method or the strategy whose section this is, and what is said of a strategy."""
    method, name = (section["properties"].get(key, {}) for key in ("method", "name"))
    if methods := method.get("enum") or ([method["const"]] if "const" in method else []):
        return f"method: {' | '.join(methods)}", ""
    if "const" in name:
        return f"name: {name['const']}", section.get("description", "").partition("\n")[0]
    return None


def _fields(section: Schema) -> list[tuple[str, Schema, bool]]:
    required = section.get("required", [])
    return [
        (key, field, key in required)
        for key, field in section["properties"].items()
        if not (key == "name" and "const" in field)  # the heading has it
    ]


def _below(field: Schema, schema: Schema) -> Iterator[Schema]:
    """The mappings that may stand in the place of a field, in order."""
    if isinstance(field.get("$ref"), str):
        yield schema["$defs"][field["$ref"].rpartition("/")[2]]
    for key in ("items", "anyOf", "oneOf", "allOf", "additionalProperties"):
        inside = field.get(key)
        for each in inside if isinstance(inside, list) else [inside]:
            if isinstance(each, dict) and "properties" in each:
                yield each
            elif isinstance(each, dict):
                yield from _below(each, schema)


def _row(key: str, field: Schema, required: bool) -> str:
    value = field.get("default")
    default = "" if required or isinstance(value, dict) else f"`{json.dumps(value)}`"
    result = {"identity": "yes", "runtime": "no"}.get(field.get("role", ""), "")
    meaning = " ".join(field.get("description", "").split())
    choices = field.get("enum")
    if choices and len(choices) > 1:
        meaning += f" ({', '.join(f'`{choice}`' for choice in choices)})"
    return f"| `{key}` | {_cell(default)} | {result} | {_cell(meaning)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
