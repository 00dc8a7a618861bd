"""All foundation models merged at once over a small grid of coefficients.

About nine evaluations, and often better than generations of pairs: an average of two models stays
between them, while a sum of task vectors keeps what each of them brings (Ilharco et al., Editing
Models with Task Arithmetic, arXiv 2212.04089; Yadav et al., TIES-Merging, arXiv 2306.01708). It is
also the baseline against which a search has to be worth its evaluations.

When to use it: for a handful of evaluations, and beside any search. In the arena (README, "Which
strategy?"; five fixtures, held out) 46.3 by nine children, where greedy has 40.1 by ten: far above
it where skills add up, below it where they interfere most.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from evomerge.domain.kinship import KinshipMatrix
from evomerge.domain.model import CandidateSet, Coefficients, MergeKind, Proposal
from evomerge.domain.settings import identity, named, refuse
from evomerge.domain.state import RunState
from evomerge.domain.value import Value
from evomerge.strategies.steps import Scales, foundation_models, propose_merge
from evomerge.strategies.strategy import Strategy

GRID = MergeKind(name="grid", label="point of the grid", colour="green", of_all=True)

Share = Annotated[float, Field(gt=0, le=1)]


class Grid(Value):
    """The points at which all foundation models are merged at once."""

    scales: Scales = identity(
        default=(0.3, 0.5, 0.8), description="of every task vector, by task arithmetic"
    )
    densities: Annotated[tuple[Share, ...], Field(max_length=20)] = identity(
        default=(0.2, 0.5), description="shares of each task vector that TIES keeps"
    )
    weights: Scales = identity(
        default=(0.6, 0.8, 1.0), description="of every task vector, by TIES at each density"
    )

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if not self.scales and not (self.densities and self.weights):
            refuse(((), "an empty grid: give scales, or densities and weights"))
        return self

    def merges(self, state: RunState) -> tuple[Proposal, ...]:
        """The merges at all points in generation 1, none later."""
        if state.generation is None or state.generation.number > 0:
            return ()
        parents = foundation_models(state)
        return tuple(
            propose_merge(GRID, parents, f"grid: {in_words(point)}", point)
            for point in self.points(len(parents))
        )

    def points(self, models: int) -> Iterator[Coefficients]:
        """The points of so many models, task arithmetic first."""
        for scale in self.scales:
            yield Coefficients.at((scale,) * models, None)
        for density in self.densities:
            for weight in self.weights:
                yield Coefficients.at((weight,) * models, density)

    @property
    def opening(self) -> Grid:
        """Two points of it, one of each kind: with these a search by a model can begin."""
        middle = self.weights[len(self.weights) // 2 :][:1]
        return self.model_copy(
            update={
                "scales": self.scales[-1:],
                "densities": self.densities[-1:],
                "weights": middle,
            }
        )


class SeedGrid(Strategy):
    """One generation: task arithmetic at each scale, TIES at each density and weight."""

    kinds = (GRID,)

    name: Literal["seed_grid"] = named("seed_grid")
    grid: Grid = Grid()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The whole grid in generation 1, nothing later."""
        return self.grid.merges(state)

    def most_children(self, foundation: int) -> int:
        """The points of the grid."""
        return sum(1 for _ in self.grid.points(foundation))

    @property
    def candidates(self) -> CandidateSet:
        """None: foundation models are always at hand."""
        return "pool"


def in_words(point: Coefficients) -> str:
    """A point, without its weights where they differ."""
    density = "" if point.density is None else f" at density {point.density:g}"
    method = point.method.replace("_", " ")
    same = f", weight {point.weights[0]:g}" if len(set(point.weights)) == 1 else ""
    return f"all foundation models by {method}{density}{same}"
