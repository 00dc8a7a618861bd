"""Two points of a grid, then what pays on this run, then a search over coefficients.

For users who want the best model for their evaluations rather than the paper's experiment. Every
decision is read off the recorded scores: after the grid each kind of exploration is tried once, one
that brought a new best model is tried again, and when none does any more, the rest of the budget
goes into the coefficients. In the arena (README, "Which strategy?"; five fixtures, held out) 55.7
at 10 children and 61.9 at 40, the most of all; `coefficient_search` 58.6 and 61.3, greedy 40.1 and
52.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import Model, Proposal
from evomerge.domain.state import RunState
from evomerge.strategies.base import greedy_pairs
from evomerge.strategies.coefficient_search import CoefficientSearch
from evomerge.strategies.complementary import Complementary


@dataclass(frozen=True)
class Portfolio:
    """Grid, then the arms that pay, then `search`.

    The arms: the best untried pair of the pool, the complement averaged in, and the complement's
    task vector added at each scale of `explore`.
    """

    k: int
    explore: Complementary
    search: CoefficientSearch

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """Those of the complement, while pairs are merged."""
        if len(state.generations) == 1 or _searching(state):
            return ()
        return self.explore.pairs_after(state, greedy_pairs(state)[:1])

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The next generation of whichever phase the run is in."""
        if grid := self.search.grid.opening.propose(state, kinship, rng):
            return grid
        if not _searching(state):
            arms = list(self._arms(state, kinship))
            paid = arms if len(state.generations) == 2 else _paid(state, arms)
            if paid:
                return tuple(paid)
        return self.search.search(state, rng)

    def _arms(self, state: RunState, kinship: KinshipMatrix) -> Iterator[Proposal]:
        pairs = greedy_pairs(state)[:1]
        yield from pairs
        yield from self.explore.explore(state, kinship, pairs)


def _searching(state: RunState) -> bool:
    return any(model.kind == "search" for model in state.models.values())


def _arm(kind: str, additive: bool) -> str:
    return "additive" if additive else kind


def _paid(state: RunState, arms: list[Proposal]) -> list[Proposal]:
    """The arms of which a child of the last generation beat everything before it."""
    last = state.generations[-1].number
    before = max(m.worth for m in state.ranking if m.generation < last and m.worth)
    better = {
        _arm(model.kind, _additive(model))
        for model in state.at_generation(last)
        if model.worth is not None and model.worth > before
    }
    return [each for each in arms if _arm(each.kind, each.coefficients is not None) in better]


def _additive(model: Model) -> bool:
    return model.candidate is not None and model.candidate.proposal.coefficients is not None
