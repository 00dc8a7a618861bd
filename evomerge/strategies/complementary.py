"""Top-k greedy merging; exploration takes the model that solves most of what M_best fails.

Kinship tells how differently a model was trained, the per-item results of the selection items tell
what it can do. Where no results are known, or several models bring as much, the least related one
is taken.

When to use it: for pairs by a merge method of your own. In the arena (README, "Which strategy?";
five fixtures, TIES, held out) 58.5 at 40 children, greedy 52.0.
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
    """Algorithm 1 with the partner that solves most of what the best model fails."""

    kinds = (GREEDY, EXPLORATION)

    name: Literal["complementary"] = named("complementary")
    exploration: ExplorationOptions = ExplorationOptions()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The pairs of the top k, then M_best × its complement."""
        greedy = greedy_pairs(state)
        return (*greedy, *self.explore(state, kinship, greedy))

    def explore(
        self, state: RunState, kinship: KinshipMatrix, proposed: tuple[Proposal, ...]
    ) -> tuple[Proposal, ...]:
        """M_best × its complement, if there is anyone left to merge it with."""
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
        """M_best with each of several candidates that bring as much."""
        return self.pairs_beside(state, greedy_pairs(state))

    def pairs_beside(self, state: RunState, proposed: tuple[Proposal, ...]) -> tuple[Pair, ...]:
        """The pairs that `explore` reads."""
        partners = exploration_candidates(state, self.candidates, proposed)
        if state.best is None or not partners:
            return ()
        _, level = _complements(state.best, partners)
        return pairs_with(state.best, level) if len(level) > 1 else ()

    def most_children(self, foundation: int) -> int:
        """Greedy merges, and one exploration merge with its additive kin."""
        return most_pairs(self.k, foundation) + 1 + len(self.exploration.additive)

    @property
    def candidates(self) -> CandidateSet:
        """All models, unless the options say otherwise."""
        return self.exploration.candidates or "repository"


def _complements(best: Model, partners: tuple[Model, ...]) -> tuple[int, list[Model]]:
    """The most items that `best` fails and a partner solves, and the partners that solve them."""
    brings = {model.name: newly_solved(best.scores, model.scores) or 0 for model in partners}
    most = max(brings.values())
    return most, [model for model in partners if brings[model.name] == most]
