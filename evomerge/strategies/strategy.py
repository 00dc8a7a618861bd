"""What a strategy is; `README.md` beside this file shows how to write one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random
from typing import ClassVar

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import CandidateSet, MergeKind, PoolRule, Proposal
from evomerge.domain.settings import identity
from evomerge.domain.state import RunState
from evomerge.domain.value import Value


class Strategy(Value, ABC):
    """Chooses the merges of every generation.

    A frozen value whose fields are its options in the config, each marked `identity` or `runtime`.
    It has no state of its own: whatever it knows of a run is in the `RunState`, so that a resumed
    run decides as an uninterrupted one.

    Attributes:
        kinds: of the merges that it proposes.
    """

    kinds: ClassVar[tuple[MergeKind, ...]]

    name: str = identity(default="", description="which one it is")
    k: int = identity(
        default=3, ge=2, le=100, description="size of the pool, and greedy merges a generation"
    )
    pool: PoolRule = identity(
        default="top_k",
        description="top_k by mean score; elites: and the best model of each task, so that no "
        "skill dies with its only holder",
    )

    @abstractmethod
    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The merges of the next generation, in the order of their children's names; none: the end.

        The kinship of each merge's parents is measured and added to the proposal by the loop.

        Args:
            state: at the end of a generation.
            kinship: readings of `pairs(state)`, and perhaps of others.
            rng: seeded from the run's seed and the generation; the only source of chance.
        """

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """The pairs of models whose kinship `propose` reads in this state; here none.

        They are measured exactly before it is called; of other pairs it may know nothing.

        Args:
            state: at the end of a generation, when all of its children are scored or failed.
        """
        return ()

    @abstractmethod
    def most_children(self, foundation: int) -> int:
        """At most so many children in one generation, of so many foundation models."""

    @property
    def candidates(self) -> CandidateSet:
        """Who beyond the pool may become a parent, or has to be measured; their weights are kept.

        Here every model: a strategy that knows better lets a run keep fewer weights.
        """
        return "repository"

    def sketch(self) -> Strategy:
        """A strategy that makes as many children a generation without much thought, for plans."""
        return self

    @classmethod
    def own_name(cls) -> str:
        """What configs call one of evomerge's own strategies; empty for others."""
        return str(cls.model_fields["name"].default)
