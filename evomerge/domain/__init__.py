"""Frozen values and pure functions: what evomerge speaks of, without any effect.

Nothing here reads a file, a clock or a random source, and nothing here imports torch.
"""
