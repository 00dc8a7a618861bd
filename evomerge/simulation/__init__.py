"""Simulation of strategies on synthetic landscapes: thousands of searches in minutes.

Models are vectors and skills are directions; Algorithm 1, strategies, recipes and stopping criteria
are the real ones. Simulations rank strategies under given assumptions; they do not predict scores.
"""
