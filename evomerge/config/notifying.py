"""The section `notify`: who is told what of a run."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from evomerge.config.texts import NonEmpty
from evomerge.domain.settings import refuse, runtime
from evomerge.domain.value import Value

Occasion = Literal["end", "stop", "new_best", "failure"]


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        refuse(
            ((), "expected the name of an environment variable, which holds it: secrets stay out")
        )
    return name


Variable = Annotated[str, AfterValidator(_variable)]


class NotifyConfig(Value):
    """A command or a webhook that is told of a run; errors in it never hold up the run."""

    webhook: Variable | None = runtime(
        default=None,
        description="name of the environment variable with the URL to which a JSON body is posted",
    )
    token: Variable | None = runtime(
        default=None,
        description="name of the environment variable with a token, sent as `Authorization: "
        "Bearer`; default: none is sent",
    )
    command: tuple[NonEmpty, ...] = runtime(
        default=(),
        description="a program and its arguments, such as [./tell.sh, team], which gets the same "
        "JSON on stdin; secrets belong into environment variables here too",
    )
    events: Annotated[tuple[Occasion, ...], Field(min_length=1, max_length=4)] = runtime(
        default=("end", "stop", "new_best", "failure"),
        description="what is told: the end, a stop before the end, a new best model, a candidate "
        "that failed for good",
    )

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Self:
        if self.webhook is None and not self.command:
            refuse(((), "expected `webhook`, `command` or both"))
        if self.token is not None and self.webhook is None:
            refuse((("token",), "it is for a webhook; set `webhook`"))
        return self
