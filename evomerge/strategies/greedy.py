"""Top-k greedy merging: Algorithm 1 without its exploration step, the paper's baseline.

When to use it: beside `kinship`, to see what exploration brings. In the arena (README, "Which
strategy?"; five fixtures, TIES, held out) 40.1 at 10 children and 52.0 at 40.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import Proposal
from evomerge.domain.state import RunState
from evomerge.strategies.base import greedy_pairs


@dataclass(frozen=True)
class Greedy:
    """Merges the pairs of the top k, and nothing else."""

    k: int

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """None: scores alone decide."""
        return ()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The greedy pairs of the next generation."""
        return greedy_pairs(state)
