"""Building blocks of settings: the roles of fields, short forms, and validation errors.

Every field of the config, of strategies and of stopping criteria is marked `identity` (it can
change a result) or `runtime` (it cannot).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar, NoReturn

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from evomerge.domain.value import Value

identity = partial(Field, json_schema_extra={"role": "identity"})
# Part of the identity of a run but not of its evaluations: it changes how scores are used.
identity_of_run = partial(Field, json_schema_extra={"role": "identity", "of": "run"})
runtime = partial(Field, json_schema_extra={"role": "runtime"})


def named(name: str) -> Any:
    """The field `name` that selects a strategy or criterion.

    It is part of a run's identity, although its value is always the default.
    """
    return Field(
        default=name,
        description="name of the strategy or criterion",
        json_schema_extra={"role": "identity", "names_the_kind": True},
    )


KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str]
"""(path within the validated value, what is wrong there)."""


def refuse(*faults: Fault) -> NoReturn:
    """Raise a validation error with `faults`, each at its own path."""
    text = "; ".join(
        f"{'.'.join(map(str, path))}: {what}" if path else what for path, what in faults
    )
    raise PydanticCustomError("refused", "{text}", {"text": text, "faults": faults})


def refuse_any(faults: Iterable[Fault]) -> None:
    """Raise a validation error if there are `faults`."""
    if found := tuple(faults):
        refuse(*found)


class Spelled(Value):
    """A section that can be written as the value of its `main` key alone.

    Attributes:
        short: the types of such values.
    """

    main: ClassVar[str]
    short: ClassVar[tuple[type, ...]] = (str,)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {cls.main: value} if isinstance(value, cls.short) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        kind = "string" if cls.short == (str,) else ["number", "string"]
        value = {"type": kind, "description": f"short for `{{{cls.main}: ...}}`"}
        return {"anyOf": [value, handler(core_schema)]}
