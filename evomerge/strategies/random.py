"""Top-k greedy merging with a random exploration merge: the control for kinship guidance."""

from __future__ import annotations

from random import Random
from typing import Literal

from evomerge.domain.kinship import KinshipMatrix
from evomerge.domain.model import CandidateSet, Proposal
from evomerge.domain.settings import named
from evomerge.domain.state import RunState
from evomerge.strategies.steps import (
    EXPLORATION,
    GREEDY,
    ExplorationOptions,
    exploration,
    exploration_candidates,
    greedy_pairs,
    most_pairs,
)
from evomerge.strategies.strategy import Strategy


class RandomExploration(Strategy):
    """Algorithm 1 with a partner drawn at random."""

    kinds = (GREEDY, EXPLORATION)

    name: Literal["random"] = named("random")
    exploration: ExplorationOptions = ExplorationOptions()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The greedy merges, then M_best × a random candidate."""
        greedy = greedy_pairs(state)
        partners = exploration_candidates(state, self.candidates, greedy)
        best = state.best
        if best is None or not partners:
            return greedy
        partner = rng.choice(partners)
        why = (
            f"{best.name} is the best model, {partner.name} was drawn at random "
            f"from {len(partners)} candidates"
        )
        return (*greedy, exploration(best, partner, why))

    def most_children(self, foundation: int) -> int:
        """Greedy merges and one exploration merge."""
        return most_pairs(self.k, foundation) + 1

    @property
    def candidates(self) -> CandidateSet:
        """As configured; default: as in the paper."""
        return self.exploration.candidates or "grandparent_generation"
