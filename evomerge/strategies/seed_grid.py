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
from dataclasses import dataclass, replace
from random import Random

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import Coefficients, Model, Proposal
from evomerge.domain.state import RunState
from evomerge.strategies.base import foundation_models, propose_merge


@dataclass(frozen=True)
class SeedGrid:
    """One generation: task arithmetic at each scale, TIES at each density and weight.

    Attributes:
        scales: weights of every task vector in task arithmetic.
        densities: shares of each task vector that TIES keeps.
        weights: weights of every task vector in TIES.
    """

    k: int
    scales: tuple[float, ...] = (0.3, 0.5, 0.8)
    densities: tuple[float, ...] = (0.2, 0.5)
    weights: tuple[float, ...] = (0.6, 0.8, 1.0)

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """None: the grid is fixed."""
        return ()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The whole grid in generation 1, nothing later."""
        if state.generation is None or state.generation.number > 0:
            return ()
        parents = foundation_models(state)
        return tuple(
            propose_merge("grid", parents, f"grid: {titled(each)}", each)
            for each in self.points(parents)
        )

    def points(self, parents: tuple[Model, ...]) -> Iterator[Coefficients]:
        """The points of the grid, task arithmetic first."""
        for scale in self.scales:
            yield Coefficients.at((scale,) * len(parents), None)
        for density in self.densities:
            for weight in self.weights:
                yield Coefficients.at((weight,) * len(parents), density)

    @property
    def opening(self) -> SeedGrid:
        """Two points of the grid, one of each kind: with these a search by a model can begin."""
        middle = self.weights[len(self.weights) // 2 :][:1]
        return replace(self, scales=self.scales[-1:], densities=self.densities[-1:], weights=middle)


def titled(point: Coefficients) -> str:
    """A point in words, without its weights where they differ."""
    density = "" if point.density is None else f" at density {point.density:g}"
    method = point.method.replace("_", " ")
    same = f", weight {point.weights[0]:g}" if len(set(point.weights)) == 1 else ""
    return f"all foundation models by {method}{density}{same}"
