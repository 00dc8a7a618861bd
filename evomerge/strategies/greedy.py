"""Top-k greedy merging: Algorithm 1 without its exploration step, the paper's baseline.

When to use it: next to `kinship`, to see what exploration adds. In the arena (README, "Which
strategy?"; five fixtures, TIES, held out) 40.1 at 10 children and 52.0 at 40.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from evomerge.domain.kinship import KinshipMatrix
from evomerge.domain.model import CandidateSet, Proposal
from evomerge.domain.settings import named
from evomerge.domain.state import RunState
from evomerge.strategies.steps import GREEDY, greedy_pairs, most_pairs
from evomerge.strategies.strategy import Strategy


class Greedy(Strategy):
    """Algorithm 1 without exploration."""

    kinds = (GREEDY,)

    name: Literal["greedy"] = named("greedy")

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The untried pairs of the pool."""
        return greedy_pairs(state)

    def most_children(self, foundation: int) -> int:
        """All pairs of foundation models, or k."""
        return most_pairs(self.k, foundation)

    @property
    def candidates(self) -> CandidateSet:
        """Only the pool."""
        return "pool"
