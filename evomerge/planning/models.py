"""Facts about a model that are known without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["local", "cached", "hub", "unknown"]

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes per weight, by the dtypes of the config."""


@dataclass(frozen=True)
class ModelFacts:
    """Facts about the base or a foundation model; None for unknown ones.

    Attributes:
        source: the hub id or path in the config.
        where: a local folder, the hub's cache, only on the hub, or unreachable.
        commit: hub commit.
        size: bytes of its weight files.
        parameters: number of parameters.
        largest: number of elements of its largest tensor.
        vocabulary: number of rows of its input embedding.
        adapter: bytes of the LoRA adapter that is merged onto the base, 0 if unknown; None for a
            model with its own weights. The other facts are about the merged model.
        trouble: why it is unknown, in a sentence.
    """

    name: str
    source: str
    where: Where
    commit: str | None = None
    size: int | None = None
    parameters: int | None = None
    largest: int | None = None
    vocabulary: int | None = None
    adapter: int | None = None
    trouble: str | None = None

    @property
    def download(self) -> int | None:
        """Bytes still to be downloaded; None if unknown."""
        if self.where in {"local", "cached"}:
            return 0
        return self.size if self.adapter is None else self.adapter or None
