"""The identity of a config (the settings that can change a result), and differences of configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic.fields import FieldInfo

from evomerge.config import CONFIG_VERSION, Config, Filtered, ModelConfig
from evomerge.configfile.document import KeyPath, dotted
from evomerge.configfile.shape import key_of
from evomerge.domain.identity import canonical_json, content_id
from evomerge.domain.value import Value

Role = Literal["identity", "runtime"]


@dataclass(frozen=True)
class Leaf:
    """One setting: its path, role, JSON value, and whether it is the default."""

    path: KeyPath
    role: Role
    value: Any
    default: bool = False


def leaves(config: Config) -> Iterator[Leaf]:
    """Every setting of `config`, defaults included, in the order of the schema."""
    yield from _leaves(config, ())


def _leaves(section: Value, path: KeyPath) -> Iterator[Leaf]:
    for name, field in type(section).model_fields.items():
        here = (*path, key_of(name, field))
        value = getattr(section, name)
        role = _role(field)
        if role is not None:
            if isinstance(section, ModelConfig) and name == "name":
                value = section.short_name  # as it is called, whether or not that is written out
            yield Leaf(here, role, _plain(value), _is_default(value, field))
        elif isinstance(value, Value):
            yield from _leaves(value, here)
        elif isinstance(value, tuple) and all(isinstance(each, Value) for each in value):
            for i, each in enumerate(value):
                yield from _leaves(each, (*here, i))
        elif value is None and field.default is None:
            pass  # an optional section that is not there
        else:  # a plug-in's field without a role: it may change a result
            yield Leaf(here, "identity", _plain(value), _is_default(value, field))


def _is_default(value: Any, field: FieldInfo) -> bool:
    """Whether a value can be left out: it is the default, and does not select a section."""
    default = field.get_default(call_default_factory=True, validated_data={})
    return bool(value == default) and not _extra(field).get("names_the_kind")


def _role(field: FieldInfo) -> Role | None:
    role = _extra(field).get("role")
    return cast("Role", role) if role in {"identity", "runtime"} else None


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) else {}


def _plain(value: Any) -> Any:
    """A value as JSON, filters as pairs: the first match counts, so their order matters."""
    if isinstance(value, Filtered):
        pairs = [[name, each] for name, each in value.filters.items()]
        return {"filters": pairs, "default": value.default}
    if isinstance(value, Value):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return value
    return value if isinstance(value, bool | int | float | list | None) else str(value)


def identity_of(config: Config) -> dict[str, Any]:
    """The settings that can change a result, by dotted path."""
    return {dotted(leaf.path): leaf.value for leaf in leaves(config) if leaf.role == "identity"}


def config_id(config: Config) -> str:
    """The content id of the settings that can change a result and are not the default.

    Defaults are left out, so that a setting added by a later version does not change ids and
    existing runs can be resumed.
    """
    chosen = {
        dotted(leaf.path): leaf.value
        for leaf in leaves(config)
        if leaf.role == "identity" and not leaf.default
    }
    return content_id("config", CONFIG_VERSION, chosen)


@dataclass(frozen=True)
class Differences:
    """The settings in which two configs differ, one line each: `key: old -> new`.

    Attributes:
        identity: settings that can change a result.
        runtime: settings that cannot change a result.
    """

    identity: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()


def differences(old: Config, new: Config) -> Differences:
    """What changed from `old` to `new`, in the order of the schema."""
    before = {leaf.path: leaf for leaf in leaves(old)}
    after = {leaf.path: leaf for leaf in leaves(new)}
    lines: dict[Role, list[str]] = {"identity": [], "runtime": []}
    for path in [*before, *(path for path in after if path not in before)]:
        a, b = before.get(path), after.get(path)
        leaf = a or b
        if leaf is not None and _told(a) != _told(b):
            lines[leaf.role].append(f"{dotted(path)}: {_told(a)} -> {_told(b)}")
    return Differences(tuple(lines["identity"]), tuple(lines["runtime"]))


def _told(leaf: Leaf | None) -> str:
    return "absent" if leaf is None else canonical_json(leaf.value)
