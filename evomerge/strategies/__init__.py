"""Strategies choose the merges of a generation: pure functions of the run's state."""

from __future__ import annotations

from evomerge.config import StrategyConfig
from evomerge.strategies.base import CandidateSet, Strategy
from evomerge.strategies.coefficient_search import CoefficientSearch
from evomerge.strategies.complementary import Complementary
from evomerge.strategies.greedy import Greedy
from evomerge.strategies.kinship import KinshipGuided
from evomerge.strategies.portfolio import Portfolio
from evomerge.strategies.random import RandomExploration
from evomerge.strategies.seed_grid import SeedGrid
from evomerge.strategies.steady_state import SteadyState

__all__ = [
    "CoefficientSearch",
    "Complementary",
    "Greedy",
    "KinshipGuided",
    "Portfolio",
    "RandomExploration",
    "SeedGrid",
    "SteadyState",
    "Strategy",
    "candidates",
    "strategy_for",
]


def strategy_for(config: StrategyConfig) -> Strategy:
    """The strategy that a config asks for."""
    k, explore, partners = config.k, config.exploration, candidates(config)
    grid = SeedGrid(k, config.grid.scales, config.grid.densities, config.grid.weights)
    search = CoefficientSearch(k, config.search.algorithm, config.search.children, grid)
    complementary = Complementary(k, partners, explore.additive)
    strategies: dict[str, Strategy] = {
        "greedy": Greedy(k),
        "kinship": KinshipGuided(k, partners, explore.prefer, explore.additive),
        "random": RandomExploration(k, partners, explore.additive),
        "complementary": complementary,
        "steady_state": SteadyState(k, partners, explore.additive),
        "seed_grid": grid,
        "coefficient_search": search,
        "portfolio": Portfolio(k, complementary, search),
    }
    return strategies[config.name]


def candidates(config: StrategyConfig) -> CandidateSet:
    """Whom the strategy may choose as a partner of the best model."""
    papers = {"kinship", "greedy", "random"}
    default: CandidateSet = "grandparent_generation" if config.name in papers else "repository"
    return config.exploration.candidates or default
