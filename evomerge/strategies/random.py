"""Top-k greedy merging with a random exploration merge: the control for kinship guidance."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import Proposal
from evomerge.domain.state import RunState
from evomerge.strategies.base import (
    CandidateSet,
    exploration,
    exploration_candidates,
    greedy_pairs,
)


@dataclass(frozen=True)
class RandomExploration:
    """The greedy pairs, and one merge of M_best with a candidate drawn at random.

    Unlike `KinshipGuided(prefer="random")` it does not ask that the kinship be defined.
    """

    k: int
    candidates: CandidateSet = "grandparent_generation"
    scales: tuple[float, ...] = ()

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """None: chance decides."""
        return ()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The greedy pairs of the next generation, then M_best × a random candidate."""
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
        return (*greedy, *exploration(best, partner, why, self.scales))
