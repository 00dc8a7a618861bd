"""What settings are made of: the two roles of a field, the short spelling, and how a rule refuses.

Every field of the config, of a strategy and of a stopping criterion is marked `identity` (it can
change a result) or `runtime` (it changes where, how fast or how long; never a number).
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
# Identity of a run but of none of its evaluations: it says what is made of what was measured.
identity_of_run = partial(Field, json_schema_extra={"role": "identity", "of": "run"})
runtime = partial(Field, json_schema_extra={"role": "runtime"})


def named(name: str) -> Any:
    """The field `name` by which a value says which of several kinds it is.

    It belongs to the identity of a run although it is the default of its own kind.
    """
    return Field(
        default=name,
        description="name of the strategy or criterion",
        json_schema_extra={"role": "identity", "names_the_kind": True},
    )


KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str]
"""Where, from the value under validation, and what is wrong there."""


def refuse(*faults: Fault) -> NoReturn:
    """Refuse a value for every one of `faults`, each with its own place."""
    text = "; ".join(
        f"{'.'.join(map(str, path))}: {what}" if path else what for path, what in faults
    )
    raise PydanticCustomError("refused", "{text}", {"text": text, "faults": faults})


def refuse_any(faults: Iterable[Fault]) -> None:
    """Refuse a value if there are `faults`."""
    if found := tuple(faults):
        refuse(*found)


class Spelled(Value):
    """A section that may be written as one value, a text or a number: that of its `main` key."""

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
