"""Top-k greedy merging; the exploration partner solves most of the items that M_best fails.

Kinship only shows how differently two models were trained; per-item results on the selection split
show what a model can do. Ties, and models without per-item results, go by the lowest kinship.

When to use it: for merges of pairs by the config's merge method. In the arena (README, "Which
strategy?"; five fixtures, TIES, held out) 58.5 at 40 children, greedy 52.0.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import CandidateSet, Model, Proposal
from evomerge.domain.scores import newly_solved
from evomerge.domain.settings import named
from evomerge.domain.state import RunState
from evomerge.strategies.steps import (
    EXPLORATION,
    GREEDY,
    ExplorationOptions,
    exploration,
    exploration_candidates,
    greedy_pairs,
    least_related,
    most_pairs,
    pairs_with,
)
from evomerge.strategies.strategy import Strategy


class Complementary(Strategy):
    """Algorithm 1 with the partner that solves most of the items that the best model fails."""

    kinds = (GREEDY, EXPLORATION)

    name: Literal["complementary"] = named("complementary")
    exploration: ExplorationOptions = ExplorationOptions()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The greedy merges, then M_best × the partner that complements it best."""
        greedy = greedy_pairs(state)
        return (*greedy, *self.explore(state, kinship, greedy))

    def explore(
        self, state: RunState, kinship: KinshipMatrix, proposed: tuple[Proposal, ...]
    ) -> tuple[Proposal, ...]:
        """The exploration merges of M_best; none if no candidate is left.

        Args:
            proposed: the greedy merges of this generation, whose pairs are not repeated.
        """
        best = state.best
        partners = exploration_candidates(state, self.candidates, proposed)
        if best is None or not partners:
            return ()
        most, level = _complements(best, partners)
        partner = (least_related(best, level, kinship) if len(level) > 1 else None) or level[0]
        why = (
            f"{partner.name} solves {most} items that {best.name}, the best model, fails, "
            f"the most of {len(partners)} candidates"
            if most
            else f"{best.name} is the best model, {partner.name} its least related: no candidate "
            "is known to solve an item that it fails"
        )
        return exploration(best, partner, why, self.exploration.additive)

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """M_best with each of several candidates that solve equally many of its failed items."""
        return self.pairs_beside(state, greedy_pairs(state))

    def pairs_beside(self, state: RunState, proposed: tuple[Proposal, ...]) -> tuple[Pair, ...]:
        """The pairs that `explore` reads, given the same `proposed`."""
        partners = exploration_candidates(state, self.candidates, proposed)
        if state.best is None or not partners:
            return ()
        _, level = _complements(state.best, partners)
        return pairs_with(state.best, level) if len(level) > 1 else ()

    def most_children(self, foundation: int) -> int:
        """Greedy merges, one exploration merge and its additive variants."""
        return most_pairs(self.k, foundation) + 1 + len(self.exploration.additive)

    @property
    def candidates(self) -> CandidateSet:
        """As configured; default: all models."""
        return self.exploration.candidates or "repository"


def _complements(best: Model, partners: tuple[Model, ...]) -> tuple[int, list[Model]]:
    """(largest number of items that `best` fails and a partner solves, the partners with it)."""
    brings = {model.name: newly_solved(best.scores, model.scores) or 0 for model in partners}
    most = max(brings.values())
    return most, [model for model in partners if brings[model.name] == most]
