"""Merge parameters: a number, a gradient over the layers, or values by tensor name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag

from evomerge.config.texts import NonEmpty
from evomerge.domain.settings import KeyPath, identity, refuse, refuse_any
from evomerge.domain.value import Value


def _shape(value: Any) -> str | None:
    """The kind of a parameter: `number`, `gradient` or `filtered`; None for other types."""
    if isinstance(value, dict | Filtered):
        return "filtered"
    if isinstance(value, list | tuple):
        return "gradient"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if number else None


def _shapes(expected: str) -> Discriminator:
    """Choose the kind by the value's type, so that a fault is reported once, not for each kind."""
    return Discriminator(
        _shape,
        custom_error_type="parameter",
        custom_error_message=expected,
        custom_error_context={"expected": expected},
    )


Number = Annotated[float, Field(allow_inf_nan=False)]
Gradient = Annotated[
    Annotated[Number, Tag("number")]
    | Annotated[list[Number], Field(min_length=1), Tag("gradient")],
    _shapes("a number or a list of numbers"),
]
"""A number, or a list of numbers that is interpolated over the layers."""


class Filtered(Value):
    """A parameter by tensor name: the first filter that is a substring of the name applies."""

    filters: Annotated[dict[NonEmpty, Gradient], Field(min_length=1)] = identity(
        description="part of a tensor name -> a number, or a list of numbers over the layers"
    )
    default: Gradient = identity(description="value of all other tensors")


Parameter = Annotated[
    Annotated[Number, Tag("number")]
    | Annotated[list[Number], Field(min_length=1), Tag("gradient")]
    | Annotated[Filtered, Tag("filtered")],
    _shapes("a number, a list of numbers over the layers, or {filters: {...}, default: ...}"),
]


def numbers(parameter: Parameter) -> Iterator[tuple[KeyPath, float]]:
    """Every number of a parameter with its path."""
    if isinstance(parameter, Filtered):
        for name, value in parameter.filters.items():
            yield from ((("filters", name, *path), number) for path, number in numbers(value))
        yield from ((("default", *path), number) for path, number in numbers(parameter.default))
    elif isinstance(parameter, list):
        yield from (((i,), number) for i, number in enumerate(parameter))
    else:
        yield (), parameter


def _each(fits: Callable[[float], bool], expected: str) -> AfterValidator:
    """A validator: every number of a parameter must satisfy `fits`."""

    def check(parameter: Parameter) -> Parameter:
        refuse_any(
            (path, f"expected a number {expected}, got {number:g}")
            for path, number in numbers(parameter)
            if not fits(number)
        )
        return parameter

    return AfterValidator(check)


def _some_weight(parameter: Parameter) -> Parameter:
    if not any(number for _, number in numbers(parameter)):
        refuse(((), "all weights are 0, so nothing would be merged"))
    return parameter


Ratio = Annotated[Parameter, _each(lambda x: 0 <= x <= 1, "from 0 to 1")]
Density = Annotated[Parameter, _each(lambda x: 0 < x <= 1, "above 0 and up to 1")]
Epsilon = Annotated[Parameter, _each(lambda x: 0 <= x < 0.5, "from 0 to below 0.5")]
Weight = Annotated[Parameter, AfterValidator(_some_weight)]
