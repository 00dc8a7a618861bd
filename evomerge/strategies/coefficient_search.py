"""A search over one weight for each foundation model.

Child = base + Σ w_i · delta_i by task arithmetic or TIES. `bayes` chooses the weights and the
operator by Bayesian optimisation (`surrogate`), `random` draws them, which is the search to be
beaten (Bergstra and Bengio 2012). Both begin with two points of the seed grid, and are rebuilt from
the journal at every step: the points and their scores are there.

When to use it: for the best model, with `max_evaluations` as the criterion; with one child a
generation, patience over generations soon ends. In the arena (README, "Which strategy?"; five
fixtures, held out) `bayes` has 58.6 at 10 children and 61.3 at 40, greedy 40.1 and 52.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Literal

from evomerge.domain.kinship import KinshipMatrix
from evomerge.domain.model import CandidateSet, Coefficients, MergeKind, Model, Proposal
from evomerge.domain.settings import identity, named
from evomerge.domain.state import RunState
from evomerge.domain.value import Value
from evomerge.strategies.seed_grid import GRID, Grid, in_words
from evomerge.strategies.steps import foundation_models, propose_merge
from evomerge.strategies.strategy import Strategy

if TYPE_CHECKING:
    from evomerge.surrogate import Observation

SEARCH = MergeKind(name="search", label="step of the search", colour="pink", of_all=True)

HIGHEST_WEIGHT = 1.6
"""Weights of a task vector are sought from 0 to this."""


class Search(Value):
    """The search over one weight for each foundation model."""

    algorithm: Literal["bayes", "random"] = identity(
        default="bayes",
        description="bayes: Bayesian optimisation; random: points drawn at random, its baseline",
    )
    children: int = identity(
        default=1,
        ge=1,
        le=64,
        description="merges a generation; one for each device lets none idle",
    )

    @property
    def sketch(self) -> Search:
        """As many children without much thought: where the points lie changes no count."""
        return self.model_copy(update={"algorithm": "random"})


class CoefficientSearch(Strategy):
    """Two points of a grid in generation 1, steps of the search in every later one."""

    kinds = (GRID, SEARCH)

    name: Literal["coefficient_search"] = named("coefficient_search")
    grid: Grid = Grid()
    search: Search = Search()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The opening, then the next points of the search."""
        return self.grid.opening.merges(state) or self.next_points(state, rng)

    def most_children(self, foundation: int) -> int:
        """The opening's two, or those of a step."""
        return max(2, self.search.children)

    @property
    def candidates(self) -> CandidateSet:
        """None: foundation models are always at hand."""
        return "pool"

    def sketch(self) -> CoefficientSearch:
        """By random points."""
        return self.model_copy(update={"search": self.search.sketch})

    def next_points(self, state: RunState, rng: Random) -> tuple[Proposal, ...]:
        """The next merges of the search."""
        if state.best is None:
            return ()
        foundation = foundation_models(state)
        choose = self._suggested if self.search.algorithm == "bayes" else self._drawn
        points = choose(state, foundation, rng)
        return tuple(_merge_of_all(foundation, point) for point in points)

    def _suggested(
        self, state: RunState, foundation: Sequence[Model], rng: Random
    ) -> Iterator[Coefficients]:
        from evomerge.surrogate import believed, suggest

        seen = list(_observations(state, foundation))
        tasks = foundation[0].scores.tasks if foundation[0].scores else ()
        objective = (
            foundation[0]
            .objective()
            .over([task.task for task in tasks], [task.weight for task in tasks])
        )
        if objective is None:
            return
        for _ in range(self.search.children):
            point = suggest(seen, objective, self.grid.densities, HIGHEST_WEIGHT, rng)
            yield point
            if self.search.children > 1:
                seen.append(believed(seen, point))

    def _drawn(
        self, state: RunState, foundation: Sequence[Model], rng: Random
    ) -> Iterator[Coefficients]:
        for _ in range(self.search.children):
            weights = [round(rng.uniform(0.0, HIGHEST_WEIGHT), 3) for _ in foundation]
            yield Coefficients.at(weights, rng.choice([*self.grid.densities, None]))


def _observations(state: RunState, foundation: Sequence[Model]) -> Iterator[Observation]:
    """Every model that is a weighted sum of foundation models, in an order of its own.

    A foundation model is such a sum itself; a merge that failed scores nothing.
    """
    from evomerge.surrogate import Observation

    names = [model.name for model in foundation]
    for model in sorted(state.models.values(), key=lambda model: (model.generation, model.name)):
        if model.scores is not None:
            scores = tuple(task.value / 100 for task in model.scores.tasks)
        elif model.failure is not None:
            scores = (0.0,) * len(foundation[0].scores.tasks if foundation[0].scores else ())
        else:
            continue
        chosen = model.candidate.proposal.coefficients if model.candidate else None
        if model.generation == 0 and model.name in names:
            alone = [float(name == model.name) for name in names]
            yield Observation(Coefficients.at(alone, None), scores)
        elif chosen is not None and set(model.parents) <= set(names):
            weights = dict(zip(model.parents, chosen.weights, strict=True))
            every = [weights.get(name, 0.0) for name in names]
            yield Observation(Coefficients.at(every, chosen.density), scores)


def _merge_of_all(foundation: Sequence[Model], point: Coefficients) -> Proposal:
    """The merge at a point; a model of weight 0 has no part in it, unless fewer than two have."""
    parts = [(model, w) for model, w in zip(foundation, point.weights, strict=True) if w]
    if len(parts) < 2:
        parts = list(zip(foundation, point.weights, strict=True))
    shown = ", ".join(f"{w:.2f} {model.name}" for model, w in parts)
    return propose_merge(
        SEARCH,
        [model for model, _ in parts],
        f"search: {in_words(point)}: {shown}",
        Coefficients.at([w for _, w in parts], point.density),
    )
