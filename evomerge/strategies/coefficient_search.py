"""A search over one merge weight for each foundation model.

Child = base + Σ w_i · delta_i, by task arithmetic or TIES, or over the disentangled task vectors of
`merge.method: regmean_pp` or `wudi`. `bayes` chooses the weights and the
merge method by Bayesian optimisation (`surrogate`); `random` draws them, the usual baseline
(Bergstra and Bengio 2012). Both start with two points of the seed grid and read the points so far
and their scores from the run's state.

When to use it: for the best model, with `max_evaluations` as the criterion (generations are too
small for criteria that count generations). In the arena (`README.md` beside this file; five
fixtures, held out) `bayes` has 96.1 at 10 children with `regmean_pp`, 85.8 at 20 with `wudi`, 61.3
at 40 with TIES and task arithmetic, where greedy has 52.0.
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
"""Upper bound of the searched weights; the lower bound is 0."""


class Search(Value):
    """The search over one weight for each foundation model."""

    algorithm: Literal["bayes", "random"] = identity(
        default="bayes",
        description="bayes: Bayesian optimisation; random: random search, its baseline",
    )
    children: int = identity(
        default=1,
        ge=1,
        le=10_000,
        description="merges per generation; one to three per device",
    )

    @property
    def sketch(self) -> Search:
        """The same number of children at random points, which are cheap to choose, for plans."""
        return self.model_copy(update={"algorithm": "random"})


class CoefficientSearch(Strategy):
    """Two points of a grid in generation 1, then steps of the search."""

    kinds = (GRID, SEARCH)

    name: Literal["coefficient_search"] = named("coefficient_search")
    grid: Grid = Grid()
    search: Search = Search()

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The grid's two points in generation 1, later the next points of the search."""
        return self.grid.opening.merges(state) or self.next_points(state, rng)

    def most_children(self, foundation: int) -> int:
        """Two, or the children of a step."""
        return max(2, self.search.children)

    @property
    def candidates(self) -> CandidateSet:
        """Foundation models are the only parents, and their weights are always kept."""
        return "pool"

    def sketch(self) -> CoefficientSearch:
        """The same with random search."""
        return self.model_copy(update={"search": self.search.sketch})

    def next_points(self, state: RunState, rng: Random) -> tuple[Proposal, ...]:
        """The next merges of the search."""
        if state.best is None:
            return ()
        foundation = foundation_models(state)
        method = state.start.disentangling
        choose = self._suggested if self.search.algorithm == "bayes" else self._drawn
        points = choose(state, foundation, () if method else self.grid.densities, rng)
        return tuple(_merge_of_all(foundation, point.disentangled(method)) for point in points)

    def _suggested(
        self,
        state: RunState,
        foundation: Sequence[Model],
        densities: Sequence[float],
        rng: Random,
    ) -> Iterator[Coefficients]:
        from evomerge.surrogate import kriging_believer, suggest

        seen = [observation for _, observation in observations(state, foundation)]
        tasks = foundation[0].scores.tasks if foundation[0].scores else ()
        objective = (
            foundation[0]
            .objective()
            .over([task.task for task in tasks], [task.weight for task in tasks])
        )
        if objective is None:
            return
        for _ in range(self.search.children):
            point = suggest(seen, objective, densities, HIGHEST_WEIGHT, rng)
            yield point
            if self.search.children > 1:
                seen.append(kriging_believer(seen, point))

    def _drawn(
        self,
        state: RunState,
        foundation: Sequence[Model],
        densities: Sequence[float],
        rng: Random,
    ) -> Iterator[Coefficients]:
        for _ in range(self.search.children):
            weights = [round(rng.uniform(0.0, HIGHEST_WEIGHT), 3) for _ in foundation]
            yield Coefficients.at(weights, rng.choice([*densities, None]))


def observations(
    state: RunState, foundation: Sequence[Model]
) -> Iterator[tuple[Model, Observation]]:
    """All weighted sums of foundation models by generation and name; failed or kept out: 0 points.

    Over disentangled task vectors only their sums; foundation models are not among them.
    """
    from evomerge.surrogate import Observation

    names = [model.name for model in foundation]
    method = state.start.disentangling
    for model in sorted(state.models.values(), key=lambda model: (model.generation, model.name)):
        if model.scores is not None and model.selectable:
            scores = tuple(task.value / 100 for task in model.scores.tasks)
        elif model.failure or model.kept_out:
            scores = (0.0,) * len(foundation[0].scores.tasks if foundation[0].scores else ())
        else:
            continue
        chosen = model.candidate.proposal.coefficients if model.candidate else None
        if model.generation == 0 and model.name in names and method is None:
            alone = [float(name == model.name) for name in names]
            yield model, Observation(Coefficients.at(alone, None), scores)
        elif chosen and set(model.parents) <= set(names) and chosen.disentangling == method:
            weights = dict(zip(model.parents, chosen.weights, strict=True))
            every = [weights.get(name, 0.0) for name in names]
            yield model, Observation(Coefficients.at(every, chosen.density), scores)


def _merge_of_all(foundation: Sequence[Model], point: Coefficients) -> Proposal:
    """The merge at a point; models of weight 0 are left out, unless fewer than two would remain.

    None is left out of disentangled task vectors, which depend on all models.
    """
    parts = [(model, w) for model, w in zip(foundation, point.weights, strict=True) if w]
    if len(parts) < 2 or point.disentangling:
        parts = list(zip(foundation, point.weights, strict=True))
    shown = ", ".join(f"{w:.2f} {model.name}" for model, w in parts)
    return propose_merge(
        SEARCH,
        [model for model, _ in parts],
        f"search: {in_words(point)}: {shown}",
        point.model_copy(update={"weights": tuple(w for _, w in parts)}),
    )
