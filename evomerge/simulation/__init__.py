"""Strategies on synthetic landscapes: thousands of searches in minutes, before anything is paid.

A model is a vector of weights, a skill a direction in it; Algorithm 1, the strategies, the recipes
and the stopping are the real ones, only models and merges are imagined. What it can tell is the
order of strategies under stated circumstances, not a score.
"""

from evomerge.simulation.arms import SimulatedArm, better, run_arms
from evomerge.simulation.landscape import METHODS, LandscapeSettings, SyntheticLandscape
from evomerge.simulation.outcome import Outcome, simulate

__all__ = [
    "METHODS",
    "LandscapeSettings",
    "Outcome",
    "SimulatedArm",
    "SyntheticLandscape",
    "better",
    "run_arms",
    "simulate",
]
