"""Strategies choose the merges of a generation: pure functions of the run's state."""

from __future__ import annotations

from evomerge.config import StrategyConfig
from evomerge.strategies.base import Strategy
from evomerge.strategies.greedy import Greedy
from evomerge.strategies.kinship import KinshipGuided
from evomerge.strategies.random import RandomExploration

__all__ = ["Greedy", "KinshipGuided", "RandomExploration", "Strategy", "strategy_for"]


def strategy_for(config: StrategyConfig) -> Strategy:
    """The strategy that a config asks for."""
    match config.name:
        case "greedy":
            return Greedy(config.k)
        case "kinship":
            return KinshipGuided(config.k, config.exploration.candidates, config.exploration.prefer)
        case "random":
            return RandomExploration(config.k, config.exploration.candidates)
