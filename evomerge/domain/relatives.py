"""Measured kinship of one model to all others, as an immutable value that is cheap to extend."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from immutables import Map

from evomerge.domain.model import Model

Relation = tuple[float, int, str]
"""(closeness, generation, name) of a model; higher is closer."""


@dataclass(frozen=True)
class Relatives:
    """The models whose kinship to one model was measured, ranked by it.

    Attributes:
        of: name of the model.
        ranks: least related first, ties by generation and name; without undefined kinship.
        measured: names of all measured models.
    """

    of: str = ""
    ranks: tuple[Relation, ...] = ()
    measured: Map[str, None] = field(default_factory=Map)

    def joined_by(self, found: Sequence[tuple[Model, float | None]]) -> Relatives:
        """With further (model, closeness) pairs; closeness is None if undefined."""
        names = {model.name: None for model, _ in found}
        again = [name for name in names if name in self.measured]  # measured a second time
        ranks = [each for each in self.ranks if each[-1] not in again] if again else [*self.ranks]
        for model, closeness in found:
            if closeness is not None:
                insort(ranks, (closeness, model.generation, model.name))
        return replace(self, ranks=tuple(ranks), measured=self.measured.update(names))
