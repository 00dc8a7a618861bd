"""What is shown of runs, as plain values that are computed once.

A terminal, JSON documents, the pages of reports and `evomerge ui` render these values. They are
frozen dataclasses of numbers, texts, tuples and mappings, and their JSON is their fields
(`as_document`). Everywhere a gain is over the best foundation model, except where it is called a
gain over the parents, and an `error` or an interval is 95 %.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def as_document(view: DataclassInstance) -> dict[str, Any]:
    """A view as JSON values. Numbers are not rounded; unknown values are null."""
    from pydantic import TypeAdapter

    found: dict[str, Any] = TypeAdapter(Any).dump_python(asdict(view), mode="json")
    return found
