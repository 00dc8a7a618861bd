"""Runs without models: Algorithm 1 over scores and kinship that functions give, in memory."""

from evomerge.imagined.world import (
    ImaginedExecutor,
    MemoryLedger,
    imagine,
    imagined_start,
    points,
)

__all__ = ["ImaginedExecutor", "MemoryLedger", "imagine", "imagined_start", "points"]
