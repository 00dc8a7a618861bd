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

    Mappings that stand in one place, such as the merge methods, share one section: first the keys
    that all of them have, then what is their own.

    Args:
        schema: as `evomerge.configfile.json_schema` gives it.
    """
    places: dict[str, list[_Mapping]] = {}
    for mapping in _mappings(schema):
        places.setdefault(mapping.path, []).append(mapping)
    return "\n".join([_HEAD, *(_section(path, found) for path, found in places.items())])


@dataclass(frozen=True)
class _Mapping:
    """One mapping of the config: where it stands, under which merge method, and its rows."""

    path: str
    method: str
    rows: tuple[str, ...]


def _mappings(schema: Schema) -> Iterator[_Mapping]:
    """Every mapping, top level first, then depth first in the order of the keys."""
    queue: list[tuple[str, str, Schema]] = [("", "", schema)]
    while queue:
        path, method, section = queue.pop(0)
        if "properties" not in section:
            spelled = [each for each in section.get("anyOf", []) if "properties" in each]
            found = [*spelled, *(schema["$defs"][name] for name in _names(section))]
            queue = [*((path, method, each) for each in found), *queue]
            continue
        method = _method(section) or method
        fields = _fields(section)
        yield _Mapping(path, method, tuple(_row(*field) for field in fields))
        nested = [
            (f"{path}.{key}".lstrip("."), method, schema["$defs"][name])
            for key, field, _ in fields
            for name in _names(field)
        ]
        queue = [*nested, *queue]


def _section(path: str, mappings: list[_Mapping]) -> str:
    distinct = list({mapping.rows: mapping for mapping in mappings}.values())
    shared = [row for row in distinct[0].rows if all(row in each.rows for each in distinct)]
    blocks = [f"## {f'`{path}`' if path else 'Top level'}", ""]
    if shared:
        blocks += [*_TABLE, *shared, ""]
    for mapping in distinct:
        own = [row for row in mapping.rows if row not in shared]
        if own and mapping.method:
            blocks += [f"With `method: {mapping.method}`:", ""]
        if own and (mapping.method or mapping is distinct[0]):
            blocks += _TABLE
        blocks += own
        if own and (mapping.method or mapping is distinct[-1]):
            blocks.append("")
    return "\n".join(blocks)


def _method(section: Schema) -> str:
    method = section["properties"].get("method", {})
    methods = method.get("enum") or ([method["const"]] if "const" in method else [])
    return " | ".join(methods)


def _fields(section: Schema) -> list[tuple[str, Schema, bool]]:
    required = section.get("required", [])
    return [(key, field, key in required) for key, field in section["properties"].items()]


def _names(field: Any) -> Iterator[str]:
    """The definitions that a field refers to, in order, not those of its default."""
    if isinstance(field, dict):
        if isinstance(field.get("$ref"), str):
            yield field["$ref"].rpartition("/")[2]
        for key, value in field.items():
            if key in {"items", "anyOf", "oneOf", "allOf", "additionalProperties"}:
                yield from _names(value)
    elif isinstance(field, list):
        for each in field:
            yield from _names(each)


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
