"""Runs without models: Algorithm 1 in memory, with scores and kinship from functions."""
