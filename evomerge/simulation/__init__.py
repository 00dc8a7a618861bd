"""Simulation of strategies on synthetic landscapes: thousands of searches in minutes.

Models are vectors and skills are directions; Algorithm 1, strategies, recipes and stopping criteria
are the real ones. Simulations rank strategies under given assumptions; they do not predict scores.
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
