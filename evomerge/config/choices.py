"""The strategy and the stopping criteria of a config, validated with their own options.

They are chosen by name, from evomerge or another package (`evomerge.plugins`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    GetJsonSchemaHandler,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError

from evomerge.domain.settings import refuse
from evomerge.plugins import validated
from evomerge.stopping import CRITERIA, Criterion
from evomerge.strategies import STRATEGIES, Strategy

DEFAULT_STRATEGY = "kinship"
_OUTSIDE = "a plug-in: the name of its entry point, or package.module:Class"


def _strategy(value: Any, info: ValidationInfo) -> Strategy:
    if isinstance(value, Strategy):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    name = value.get("name", DEFAULT_STRATEGY)
    if not isinstance(name, str):
        refuse((("name",), "expected the name of a strategy"))
    return validated(STRATEGIES.find(name, ("name",)), value, info)


def _criterion(value: Any, info: ValidationInfo) -> Criterion:
    """An item of `stopping`: a name, `{name: options}`, or `{name: value}` of the main option."""
    if isinstance(value, Criterion):
        return value
    item = {value: None} if isinstance(value, str) else value
    if not isinstance(item, dict) or len(item) != 1:
        raise PydanticCustomError("no_criterion", "expected one criterion")
    ((name, options),) = item.items()
    kind = CRITERIA.find(str(name))
    at = (name,) if isinstance(value, dict) else ()
    if options is None or options is True:  # 1 == True, and a number of generations
        required = [key for key, field in kind.model_fields.items() if field.is_required()]
        if required:
            context = {"name": name, "main": kind.main, "required": required}
            raise PydanticCustomError("needs_a_value", "needs a value", context)
        options = {}
    elif kind.main is not None:
        options = {kind.main: options}
    elif not isinstance(options, dict):
        refuse((at, "expected a mapping"))
    if "name" in options:
        refuse(((*at, "name"), "unknown key"))
    return validated(kind, {"name": name, **options}, info, at, kind.main)


class _StrategySchema:
    """JSON Schema for editors: the options of every strategy of evomerge."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        own = []
        for known, kind in STRATEGIES.own.items():
            section = handler(kind.__pydantic_core_schema__)
            section["properties"]["name"].pop("names_the_kind", None)
            own.append(section if known == DEFAULT_STRATEGY else {**section, "required": ["name"]})
        common = Strategy.model_json_schema()["properties"]
        common["name"] = {
            "type": "string",
            "not": {"enum": [*STRATEGIES.own]},
            "description": _OUTSIDE,
            "role": "identity",
        }
        outside = {"type": "object", "properties": common, "required": ["name"]}
        return {"anyOf": [*own, outside]}


class _CriterionSchema:
    """JSON Schema for editors: a name, or a name with its options if one is required."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        alone, spelled = [], []
        for name, kind in CRITERIA.own.items():
            options = kind.model_json_schema(mode="validation")
            fields = options["properties"]
            fields.pop("name")
            if not options.get("required"):
                alone.append(name)
            nothing: JsonSchemaValue = {"const": True}
            value = fields[kind.main] if kind.main else options if fields else nothing
            value["description"] = " ".join((kind.__doc__ or "").split())
            spelled.append(_only({name: value}))
        outside = {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "propertyNames": {"not": {"enum": [*CRITERIA.own]}},
            "description": _OUTSIDE,
        }
        place = {"type": "string", "pattern": ":", "description": _OUTSIDE}
        return {"anyOf": [{"enum": alone}, *spelled, place, outside]}


def _only(properties: dict[str, Any]) -> JsonSchemaValue:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


AnyStrategy = Annotated[SerializeAsAny[Strategy], PlainValidator(_strategy), _StrategySchema]
AnyCriterion = Annotated[SerializeAsAny[Criterion], PlainValidator(_criterion), _CriterionSchema]
