"""What sections of the config are made of: the two roles of a field, and the short spelling."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from evomerge.domain.value import Value

identity = partial(Field, json_schema_extra={"role": "identity"})
# Identity of a run but of none of its evaluations: it says what is made of what was measured.
identity_of_run = partial(Field, json_schema_extra={"role": "identity", "of": "run"})
runtime = partial(Field, json_schema_extra={"role": "runtime"})


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
