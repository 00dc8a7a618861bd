"""One merge per generation, so that each child can be a parent immediately.

Algorithm 1 spends n(n-1)/2 evaluations on the pairs of foundation models before its first choice.
Here, as in steady-state genetic algorithms (Syswerda 1991), generations alternate between the
untried pair of the pool with the best mean score and the best model with its least related partner.

When to use it: for merges of pairs with few evaluations. In the arena (`README.md` beside this
file; five fixtures, TIES, held out) 52.4 at 10 children and 54.7 at 40, greedy 40.1 and 52.0.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import CandidateSet, Proposal
from evomerge.domain.settings import named
from evomerge.domain.state import RunState
from evomerge.strategies.steps import (
    EXPLORATION,
    GREEDY,
    ExplorationOptions,
    best_untried_pair,
    contenders,
    exploration,
    least_related,
    pairs_with,
    propose_merge,
)
from evomerge.strategies.strategy import Strategy


class SteadyState(Strategy):
    """One merge per generation: exploration in odd generations, the best pair in even ones."""

    kinds = (GREEDY, EXPLORATION)

    name: Literal["steady_state"] = named("steady_state")
    exploration: ExplorationOptions = ExplorationOptions()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The merge of this generation's kind, or of the other kind if there is none."""
        if len(state.generations) % 2:
            return self._explore(state, kinship) or self._best_pair(state)
        return self._best_pair(state) or self._explore(state, kinship)

    def _best_pair(self, state: RunState) -> tuple[Proposal, ...]:
        best = best_untried_pair(state)
        if best is None:
            return ()
        return (propose_merge(GREEDY, best, "the best untried pair of the pool"),)

    def _explore(self, state: RunState, kinship: KinshipMatrix) -> tuple[Proposal, ...]:
        best = state.best
        partners = contenders(state, self.candidates)
        partner = least_related(best, partners, kinship) if best else None
        if best is None or partner is None:
            return ()
        why = f"{best.name} is the best model, {partner.name} its least related"
        return (exploration(best, partner, why),)

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """The best model with each contender, if this generation explores."""
        if len(state.generations) % 2 == 0 and self._best_pair(state):
            return ()
        return pairs_with(state.best, contenders(state, self.candidates))

    def most_children(self, foundation: int) -> int:
        """Always 1."""
        return 1

    @property
    def candidates(self) -> CandidateSet:
        """As configured; default: all models."""
        return self.exploration.candidates or "repository"
