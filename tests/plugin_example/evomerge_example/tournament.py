"""Tournament selection (Goldberg and Deb 1991), each winner merged with its least related kin."""

from __future__ import annotations

from random import Random

from evomerge.domain.kinship import KinshipMatrix, Pair
from evomerge.domain.model import MergeKind, Model, Proposal
from evomerge.domain.settings import identity
from evomerge.domain.state import RunState
from evomerge.strategies.steps import least_related, pairs_with, propose_merge
from evomerge.strategies.strategy import Strategy

TOURNAMENT = MergeKind(name="tournament", label="merge of a winner", colour="sky")


class Tournament(Strategy):
    """The winner of each tournament with its least related partner in the pool."""

    kinds = (TOURNAMENT,)

    size: int = identity(default=2, ge=2, description="models that a tournament is among")
    rounds: int = identity(default=1, ge=1, le=8, description="tournaments a generation")

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        merges: dict[frozenset[str], Proposal] = {}
        for _ in range(self.rounds):
            entrants = rng.sample(state.ranking, min(self.size, len(state.ranking)))
            winner = min(entrants, key=state.ranking.index)
            partners = self._partners(state, winner)
            partner = least_related(winner, partners, kinship) or next(iter(partners), None)
            if partner is not None:
                merge = propose_merge(TOURNAMENT, (winner, partner), f"{winner.name} won")
                merges.setdefault(frozenset(merge.parents), merge)
        return tuple(merges.values())

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        found = (pairs_with(model, self._partners(state, model)) for model in state.ranking)
        return tuple(dict.fromkeys(pair for pairs in found for pair in pairs))

    def most_children(self, foundation: int) -> int:
        return self.rounds

    @staticmethod
    def _partners(state: RunState, winner: Model) -> list[Model]:
        return [
            model
            for model in state.pool
            if model.name != winner.name and not state.tried(model.name, winner.name)
        ]
