"""Runs without models: Algorithm 1 in memory, with scores and kinship from functions."""

from evomerge.imagined.world import (
    ImaginedExecutor,
    MemoryLedger,
    imagine,
    imagined_start,
    points,
)

__all__ = ["ImaginedExecutor", "MemoryLedger", "imagine", "imagined_start", "points"]
