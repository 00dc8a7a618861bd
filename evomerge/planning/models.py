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
        adapter: bytes of the LoRA adapter that is merged onto the base, 0 where they are not known;
            None for a whole model. All else is then said of the result.
    """

    name: str
    source: str
    where: Literal["local", "cached", "hub", "unknown"]
    commit: str | None = None
    size: int | None = None
    parameters: int | None = None
    largest: int | None = None
    vocabulary: int | None = None
    adapter: int | None = None

    @property
    def download(self) -> int | None:
        """Bytes still to be fetched; None when they are not known."""
        if self.where in {"local", "cached"}:
            return 0
        return self.size if self.adapter is None else self.adapter or None
