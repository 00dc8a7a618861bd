"""The interface of strategies; `README.md` in this folder shows how to write one."""

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
    It has no state of its own, so that a resumed run decides as an uninterrupted one.

    Attributes:
        kinds: the kinds of merges that it proposes.
    """

    kinds: ClassVar[tuple[MergeKind, ...]]

    name: str = identity(default="", description="name of the strategy")
    k: int = identity(
        default=3, ge=2, le=100, description="size of the pool, and greedy merges per generation"
    )
    pool: PoolRule = identity(
        default="top_k",
        description="top_k: the best k models; elites: also the best model of each task, so that "
        "no skill is lost",
    )

    @abstractmethod
    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The merges of the next generation, in the order of their children's names.

        An empty result ends the run. The kinship of the parents is measured and added later.

        Args:
            state: the run at the end of a generation.
            kinship: readings of `pairs(state)`.
            rng: the only source of randomness, seeded from the run's seed and the generation.
        """

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """The pairs whose kinship `propose` reads in this state; default: none.

        They are measured before `propose` is called.
        """
        return ()

    @abstractmethod
    def most_children(self, foundation: int) -> int:
        """The maximum number of children in a generation, with `foundation` foundation models."""

    @property
    def candidates(self) -> CandidateSet:
        """The models besides the pool that may become parents or be measured; default: all.

        Their weights are kept. A smaller set saves disk space in runs with `retention`.
        """
        return "repository"

    def sketch(self) -> Strategy:
        """For plans: a strategy with as many children per generation that is cheap to run."""
        return self

    @classmethod
    def own_name(cls) -> str:
        """The name in configs of one of evomerge's own strategies; empty for others."""
        return str(cls.model_fields["name"].default)
