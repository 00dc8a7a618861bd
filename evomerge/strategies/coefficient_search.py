"""A seed grid, then a search over one weight for each foundation model, around the best model.

A step keeps the best model's residual: child = base + delta_best + Σ x_i · delta_i, so that what
TIES or a search before made of it is not lost. The search is a (1+1) evolution strategy with the
one-fifth success rule (Rechenberg 1973; the form of Kern et al. 2004), or CMA-ES (Hansen,
arXiv 1604.00772) through the `cma` package. Its state is rebuilt from the journal at every step:
the steps and their scores are there.

When to use it: for the best model, with `max_evaluations` as the criterion; with one child a
generation, patience over generations soon ends. The arena so far (README, "Which strategy?"; one
fixture, TIES, held out): 64.6 at 10 children, 71.3 at 40; greedy 40.6 and 52.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from evomerge.domain.identity import derived_seed
from evomerge.domain.kinship import KinshipMatrix
from evomerge.domain.model import Coefficients, Model, Proposal
from evomerge.domain.state import RunState
from evomerge.strategies.base import foundation_models, propose_merge
from evomerge.strategies.seed_grid import SeedGrid

_SUCCESS, _FAILURE = math.exp(1 / 3), math.exp(-1 / 12)
"""Factors of the step size: constant at one success in five steps."""

Point = tuple[float, ...]


@dataclass(frozen=True)
class CoefficientSearch:
    """The grid in generation 1, a step of the search in every later one.

    Attributes:
        step: the first standard deviation of a weight.
        algorithm: `es` makes one child a generation, `cma` 4 + 3 ln n of them.
    """

    k: int
    step: float = 0.2
    algorithm: Literal["es", "cma"] = "es"
    grid: SeedGrid = field(default_factory=lambda: SeedGrid(2))

    def propose(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The next points, as children of the anchor and all foundation models."""
        return self.grid.propose(state, kinship, rng) or self.search(state, kinship, rng)

    def search(self, state: RunState, kinship: KinshipMatrix, rng: Random) -> tuple[Proposal, ...]:
        """The next points of the search; it starts from the best model of its first call."""
        if state.best is None:
            return ()
        steps = list(_steps(state))
        anchor = state.models[steps[0][0].parents[0]] if steps else state.best
        foundation = foundation_models(state)
        ask = _ask_cma if self.algorithm == "cma" else _ask_es
        points = ask(anchor, steps, len(foundation), self.step, state, rng)
        return tuple(_child(anchor, foundation, point, kinship) for point in points)


def _steps(state: RunState) -> Iterator[tuple[Model, Point]]:
    """The models that the search made so far, in order, with their points."""
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
    chosen = Coefficients(method="task_arithmetic", weights=tuple(weights.values()))
    shift = ", ".join(f"{x:+.2f} {m.name}" for m, x in zip(foundation, point, strict=True))
    return propose_merge(
        "search",
        [members[name] for name in weights],
        kinship,
        f"search: {anchor.name} {shift}",
        chosen,
    )
