"""A search over one weight for each foundation model.

By default `bayes`: child = base + Σ w_i · delta_i by task arithmetic or TIES, the weights and the
operator chosen by Bayesian optimisation (`surrogate`), after two points of the seed grid. `random`
draws them, which is the search to be beaten (Bergstra and Bengio 2012).

`es` and `cma` search after the whole grid, around the best model and with its residual: child =
base + delta_best + Σ x_i · delta_i, so that what TIES made of it is not lost; by a (1+1) evolution
strategy with the one-fifth success rule (Rechenberg 1973; the form of Kern et al. 2004), or by
CMA-ES (Hansen, arXiv 1604.00772) through the `cma` package. The state of all of them is rebuilt
from the journal at every step: the points and their scores are there.

When to use it: for the best model, with `max_evaluations` as the criterion; with one child a
generation, patience over generations soon ends. In the arena (README, "Which strategy?"; five
fixtures, held out) `bayes` has 58.6 at 10 children and 61.3 at 40, `es` 47.3 and 58.3, greedy 40.1
and 52.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Literal

from evomerge.domain.identity import derived_seed
from evomerge.domain.kinship import KinshipMatrix
from evomerge.domain.model import Coefficients, Model, Proposal
from evomerge.domain.state import RunState
from evomerge.strategies.base import foundation_models, propose_merge
from evomerge.strategies.seed_grid import SeedGrid, titled

if TYPE_CHECKING:
    from evomerge.strategies.surrogate import Observation

_SUCCESS, _FAILURE = math.exp(1 / 3), math.exp(-1 / 12)
"""Factors of the step size: constant at one success in five steps."""

HIGHEST_WEIGHT = 1.6
"""Weights of a task vector are sought from 0 to this, by `bayes` and `random`."""

Point = tuple[float, ...]


@dataclass(frozen=True)
class CoefficientSearch:
    """The opening in generation 1, a step of the search in every later one.

    Attributes:
        algorithm: `es` makes one child a generation, `cma` 4 + 3 ln n of them.
        children: a generation, of `bayes` and `random`.
        step: the first standard deviation of a weight, of `es` and `cma`.
    """

    k: int
    algorithm: Literal["bayes", "random", "es", "cma"] = "bayes"
    children: int = 1
    step: float = 0.2
    grid: SeedGrid = field(default_factory=lambda: SeedGrid(2))

    @property
    def opening(self) -> SeedGrid:
        """What comes before the search: all of the grid where that is around the best model."""
        return self.grid if self.algorithm in {"es", "cma"} else self.grid.opening

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The opening, then the next points of the search."""
        return self.opening.propose(state, kinship, rng) or self.search(state, kinship, rng)

    def search(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The next points of the search."""
        if state.best is None:
            return ()
        foundation = foundation_models(state)
        if self.algorithm in {"bayes", "random"}:
            choose = self._suggested if self.algorithm == "bayes" else self._drawn
            points = choose(state, foundation, rng)
            return tuple(_merge_of_all(foundation, point, kinship) for point in points)
        steps = list(_steps(state))
        anchor = state.models[steps[0][0].parents[0]] if steps else state.best
        ask = _ask_cma if self.algorithm == "cma" else _ask_es
        shifts = ask(anchor, steps, len(foundation), self.step, state, rng)
        return tuple(_child(anchor, foundation, shift, kinship) for shift in shifts)

    def _suggested(
        self, state: RunState, foundation: Sequence[Model], rng: Random
    ) -> Iterator[Coefficients]:
        from evomerge.strategies.surrogate import believed, suggest

        seen = list(_observations(state, foundation))
        tasks = foundation[0].scores.tasks if foundation[0].scores else ()
        total = math.fsum(task.weight for task in tasks)
        shares = [task.weight / total for task in tasks]
        for _ in range(self.children):
            point = suggest(seen, shares, self.grid.densities, HIGHEST_WEIGHT, rng)
            yield point
            if self.children > 1:
                seen.append(believed(seen, point))

    def _drawn(
        self, state: RunState, foundation: Sequence[Model], rng: Random
    ) -> Iterator[Coefficients]:
        for _ in range(self.children):
            weights = [round(rng.uniform(0.0, HIGHEST_WEIGHT), 3) for _ in foundation]
            yield Coefficients.at(weights, rng.choice([*self.grid.densities, None]))


def _observations(state: RunState, foundation: Sequence[Model]) -> Iterator[Observation]:
    """Every model that is a weighted sum of foundation models, in an order of its own.

    A foundation model is such a sum itself; a merge that failed scores nothing.
    """
    from evomerge.strategies.surrogate import Observation

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


def _merge_of_all(
    foundation: Sequence[Model], point: Coefficients, kinship: KinshipMatrix
) -> Proposal:
    """The merge at a point; a model of weight 0 has no part in it, unless fewer than two have."""
    parts = [(model, w) for model, w in zip(foundation, point.weights, strict=True) if w]
    if len(parts) < 2:
        parts = list(zip(foundation, point.weights, strict=True))
    shown = ", ".join(f"{w:.2f} {model.name}" for model, w in parts)
    return propose_merge(
        "search",
        [model for model, _ in parts],
        kinship,
        f"search: {titled(point)}: {shown}",
        Coefficients.at([w for _, w in parts], point.density),
    )


def _steps(state: RunState) -> Iterator[tuple[Model, Point]]:
    """The models that a search around the best made so far, in order, with their shifts."""
    names = [model.name for model in foundation_models(state)]
    for model in state.models.values():
        if model.kind == "search" and model.candidate and model.candidate.proposal.coefficients:
            weights = dict(
                zip(model.parents, model.candidate.proposal.coefficients.weights, strict=True)
            )
            own = model.parents[0]
            yield model, tuple(weights.get(name, 0.0) - (name == own) for name in names)


def _ask_es(
    anchor: Model,
    steps: Sequence[tuple[Model, Point]],
    dimensions: int,
    sigma: float,
    state: RunState,
    rng: Random,
) -> list[Point]:
    """The next point of the (1+1)-ES: what it learned is the fold of its steps."""
    centre: Point = (0.0,) * dimensions
    reached = anchor.score or 0.0
    for model, point in steps:
        success = model.score is not None and model.score >= reached
        if success:
            centre, reached = point, model.score or 0.0
        sigma *= _SUCCESS if success else _FAILURE
    return [tuple(round(x + rng.gauss(0.0, sigma), 4) for x in centre)]


def _ask_cma(
    anchor: Model,
    steps: Sequence[tuple[Model, Point]],
    dimensions: int,
    sigma: float,
    state: RunState,
    rng: Random,
) -> list[Point]:
    """The next population of CMA-ES, brought to where it was by the recorded steps."""
    import cma

    seed = derived_seed("cma", state.start.seed) % (2**31 - 1) + 1
    es = cma.CMAEvolutionStrategy([0.0] * dimensions, sigma, {"seed": seed, "verbose": -9})
    recorded = list(steps)
    while recorded:
        es.ask()  # moves its random numbers on, as when the points were first drawn
        told = recorded[: es.popsize]
        recorded = recorded[es.popsize :]
        if len(told) < es.popsize:
            break  # a last generation that the budget cut
        es.tell([list(point) for _, point in told], [-(model.score or 0.0) for model, _ in told])
    return [tuple(round(float(x), 4) for x in point) for point in es.ask()]


def _child(
    anchor: Model, foundation: Sequence[Model], point: Point, kinship: KinshipMatrix
) -> Proposal:
    weights = {anchor.name: 1.0}
    for model, x in zip(foundation, point, strict=True):
        weights[model.name] = weights.get(model.name, 0.0) + x
    members = {model.name: model for model in (anchor, *foundation)}
    chosen = Coefficients.at(tuple(weights.values()), None)
    shift = ", ".join(f"{x:+.2f} {m.name}" for m, x in zip(foundation, point, strict=True))
    return propose_merge(
        "search",
        [members[name] for name in weights],
        kinship,
        f"search: {anchor.name} {shift}",
        chosen,
    )
