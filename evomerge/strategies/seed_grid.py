"""All foundation models merged at once over a small grid of coefficients.

About nine evaluations, and often better than generations of pairs: averages of two models lie
between them, while a sum of task vectors can keep the skills of all (Ilharco et al., Editing Models
with Task Arithmetic, arXiv 2212.04089; Yadav et al., TIES-Merging, arXiv 2306.01708). It is also
the baseline of every search.

When to use it: with few evaluations, and as a baseline. In the arena (`README.md` beside this file;
five fixtures, held out) 81.1 with the three children of `wudi`, 46.3 with nine of TIES and task
arithmetic, where greedy has 40.1 with ten.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from evomerge.domain.kinship import KinshipMatrix
from evomerge.domain.model import (
    CandidateSet,
    Coefficients,
    MergeKind,
    Proposal,
    disentangling,
)
from evomerge.domain.settings import identity, named, refuse
from evomerge.domain.state import RunState
from evomerge.domain.value import Value
from evomerge.strategies.steps import foundation_models, propose_merge
from evomerge.strategies.strategy import Strategy

GRID = MergeKind(name="grid", label="point of the grid", colour="green", of_all=True)

Share = Annotated[float, Field(gt=0, le=1)]
Scales = Annotated[
    tuple[Annotated[float, Field(gt=0, le=4)], ...],
    Field(max_length=20),
]
"""Weights of task vectors."""


class Grid(Value):
    """Coefficients at which all foundation models are merged at once."""

    scales: Scales = identity(
        default=(0.3, 0.5, 0.8), description="weights of all task vectors, with task arithmetic"
    )
    densities: Annotated[tuple[Share, ...], Field(max_length=20)] = identity(
        default=(0.2, 0.5), description="densities of TIES"
    )
    weights: Scales = identity(
        default=(0.6, 0.8, 1.0), description="weights of all task vectors, with TIES"
    )
    wudi: Annotated[Scales, Field(min_length=1)] = identity(
        default=(0.6, 1.0, 1.5),
        description="weights of all task vectors with `merge.method: wudi`, which replace the "
        "other points",
    )

    regmean_pp: Annotated[Scales, Field(min_length=1)] = identity(
        default=(0.9, 1.0, 1.1), description="the same with `merge.method: regmean_pp`"
    )

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if not self.scales and not (self.densities and self.weights):
            refuse(((), "an empty grid: give scales, or densities and weights"))
        return self

    def merges(self, state: RunState) -> tuple[Proposal, ...]:
        """The merges at all points, as generation 1; none later."""
        if state.generation is None or state.generation.number > 0:
            return ()
        parents = foundation_models(state)
        return tuple(
            propose_merge(GRID, parents, f"grid: {in_words(point)}", point)
            for point in self.points(len(parents), state.start.merge_method)
        )

    def points(self, models: int, merge_method: str = "") -> Iterator[Coefficients]:
        """The points for `models` foundation models, task arithmetic first.

        Args:
            merge_method: the config's merge method; one that disentangles has its own points.
        """
        if method := disentangling(merge_method):
            for scale in getattr(self, method):
                yield Coefficients.at((scale,) * models, None).disentangled(method)
            return
        for scale in self.scales:
            yield Coefficients.at((scale,) * models, None)
        for density in self.densities:
            for weight in self.weights:
                yield Coefficients.at((weight,) * models, density)

    @property
    def opening(self) -> Grid:
        """Two points, one of each merge method if there are two, to start a search with."""
        middle = self.weights[len(self.weights) // 2 :][:1]
        return self.model_copy(
            update={
                "scales": self.scales[-1:],
                "densities": self.densities[-1:],
                "weights": middle,
                "wudi": self.wudi[-2:],
                "regmean_pp": self.regmean_pp[-2:],
            }
        )


class SeedGrid(Strategy):
    """One generation: task arithmetic at each scale, TIES at each density and weight."""

    kinds = (GRID,)

    name: Literal["seed_grid"] = named("seed_grid")
    grid: Grid = Grid()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The whole grid as generation 1; nothing later."""
        return self.grid.merges(state)

    def most_children(self, foundation: int) -> int:
        """The number of points."""
        return sum(1 for _ in self.grid.points(foundation))

    @property
    def candidates(self) -> CandidateSet:
        """Foundation models are the only parents, and their weights are always kept."""
        return "pool"


def in_words(point: Coefficients) -> str:
    """A description of a point, without the weights if they differ."""
    density = "" if point.density is None else f" at density {point.density:g}"
    method = point.method.replace("_", " ")
    same = f", weight {point.weights[0]:g}" if len(set(point.weights)) == 1 else ""
    return f"all foundation models by {method}{density}{same}"
