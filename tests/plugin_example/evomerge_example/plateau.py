"""Ends a run when the models of the pool score nearly the same."""

from __future__ import annotations

from evomerge.domain.settings import identity
from evomerge.domain.state import RunState
from evomerge.stopping import Criterion


class Plateau(Criterion):
    """The best and the last model of the pool are within some points."""

    points: float = identity(default=0.5, ge=0, description="between the best and the last")

    def reached(self, state: RunState) -> str | None:
        scores = [model.score for model in state.pool if model.score is not None]
        if len(scores) < 2 or max(scores) - min(scores) > self.points:
            return None
        return f"plateau: the pool is within {self.points:g} points"
