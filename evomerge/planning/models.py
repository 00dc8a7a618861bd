"""What a plan needs to know of a model before any of its weights is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Per weight, by the names of the config."""


@dataclass(frozen=True)
class ModelFacts:
    """The base or a foundation model, as far as it is known; None for what is not.

    Attributes:
        source: as the config names it.
        where: in a local folder, in the hub's cache, still on the hub, or not to be reached.
        commit: of the hub.
        size: bytes of its weight files.
        parameters: numbers in its weights.
        largest: numbers in its largest tensor.
        vocabulary: rows of its input embedding.
    """

    name: str
    source: str
    where: Literal["local", "cached", "hub", "unknown"]
    commit: str | None = None
    size: int | None = None
    parameters: int | None = None
    largest: int | None = None
    vocabulary: int | None = None

    @property
    def download(self) -> int | None:
        """Bytes still to be fetched; None when they are not known."""
        return 0 if self.where in {"local", "cached"} else self.size
