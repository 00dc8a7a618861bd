"""Comparison of runs: scores and costs of each arm, and where they diverge. Pure."""
