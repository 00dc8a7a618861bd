"""The JSON Schema of configs, for completion and validation in editors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evomerge.config import Config


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12, with a description for every key."""
    schema = Config.model_json_schema(by_alias=True, mode="validation")
    definitions = schema.get("$defs", {})
    for section in _mappings(schema):
        for key, field in section["properties"].items():
            field.pop("title", None)
            field.setdefault("description", _description(field, section, definitions) or key)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "evomerge config",
    }


def _mappings(schema: Any) -> Iterator[dict[str, Any]]:
    """Every part of a schema that describes a mapping."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        schema = [*schema.values()]
    if isinstance(schema, list):
        for part in schema:
            yield from _mappings(part)


def _description(
    field: dict[str, Any], section: dict[str, Any], definitions: dict[str, Any]
) -> str | None:
    """The description of a field's section, else that of the enclosing section."""
    name = str(field.get("$ref", "")).rpartition("/")[2]
    return definitions.get(name, {}).get("description") or section.get("description")
