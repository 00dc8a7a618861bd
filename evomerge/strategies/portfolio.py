"""Two points of a grid, then the merges that improve this run, then a search over coefficients.

After the grid each arm is tried once; arms that gave a new best model are tried again, and when
none does, the rest of the budget goes into the coefficient search.

When to use it: for the best model within a budget of evaluations. In the arena (README, "Which
strategy?"; five fixtures, held out) 55.7 at 10 children and 61.9 at 40, the highest of all;
`coefficient_search` 58.6 and 61.3, greedy 40.1 and 52.0.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import CandidateSet, Proposal
from evomerge.domain.settings import named
from evomerge.domain.state import RunState
from evomerge.strategies.coefficient_search import SEARCH, CoefficientSearch, Search
from evomerge.strategies.complementary import Complementary
from evomerge.strategies.seed_grid import GRID, Grid
from evomerge.strategies.steps import EXPLORATION, GREEDY, ExplorationOptions, greedy_pairs
from evomerge.strategies.strategy import Strategy


class Portfolio(Strategy):
    """Two points of a grid, then the arms that improve the run, then a coefficient search.

    The arms: the best untried pair of the pool; the best model with its complement (see
    `complementary`); the complement's task vector added at each scale of `exploration.additive`.
    """

    kinds = (GREEDY, EXPLORATION, GRID, SEARCH)

    name: Literal["portfolio"] = named("portfolio")
    exploration: ExplorationOptions = ExplorationOptions()
    grid: Grid = Grid()
    search: Search = Search()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The merges of the run's current phase."""
        if opening := self.grid.opening.merges(state):
            return opening
        if not _searching(state):
            best_pair = greedy_pairs(state)[:1]
            arms = [*best_pair, *self._complementary.explore(state, kinship, best_pair)]
            paid = arms if len(state.generations) == 2 else _paid(state, arms)
            if paid:
                return tuple(paid)
        search = CoefficientSearch(grid=self.grid, search=self.search)
        return search.next_points(state, rng)

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """The pairs of `complementary`, while pairs are merged."""
        if len(state.generations) == 1 or _searching(state):
            return ()
        return self._complementary.pairs_beside(state, greedy_pairs(state)[:1])

    def most_children(self, foundation: int) -> int:
        """All arms, or the children of a step of the search."""
        return max(2 + len(self.exploration.additive), self.search.children)

    @property
    def candidates(self) -> CandidateSet:
        """As configured; default: all models."""
        return self._complementary.candidates

    @property
    def _complementary(self) -> Complementary:
        return Complementary(exploration=self.exploration)

    def sketch(self) -> Portfolio:
        """The same with random search."""
        return self.model_copy(update={"search": self.search.sketch})


def _searching(state: RunState) -> bool:
    return any(model.kind == SEARCH.name for model in state.models.values())


def _paid(state: RunState, arms: list[Proposal]) -> list[Proposal]:
    """The arms that gave a child of the last generation better than all earlier models."""
    last = state.generations[-1].number
    before = max(m.worth for m in state.ranking if m.generation < last and m.worth)
    better = {
        _arm(model.candidate.proposal)
        for model in state.at_generation(last)
        if model.candidate and model.worth is not None and model.worth > before
    }
    return [each for each in arms if _arm(each) in better]


def _arm(merge: Proposal) -> str:
    return "additive" if merge.coefficients else merge.kind
