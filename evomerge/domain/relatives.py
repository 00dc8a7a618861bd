"""The measured kinship of one model to all others: a value of which a change costs little."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from immutables import Map

from evomerge.domain.model import Model

Relation = tuple[float, int, str]
"""How close a model is, higher is closer; its generation and its name."""


@dataclass(frozen=True)
class Relatives:
    """Whose kinship to a model was measured, and who of them is least related.

    Attributes:
        of: the model's name.
        ranks: least related first, ties by generation and name; an undefined kinship has no rank.
        measured: the names of all whose kinship was measured.
    """

    of: str = ""
    ranks: tuple[Relation, ...] = ()
    measured: Map[str, None] = field(default_factory=Map)

    def joined_by(self, found: Sequence[tuple[Model, float | None]]) -> Relatives:
        """With more models and how close they are, None where that is undefined."""
        names = {model.name: None for model, _ in found}
        again = [name for name in names if name in self.measured]  # measured once more
        ranks = [each for each in self.ranks if each[-1] not in again] if again else [*self.ranks]
        for model, closeness in found:
            if closeness is not None:
                insort(ranks, (closeness, model.generation, model.name))
        return replace(self, ranks=tuple(ranks), measured=self.measured.update(names))
