"""The sampled coordinates of a tensor: the same for all models of a base.

Stratified by tensor, in proportion to its size, and within a tensor: the elements are cut into
runs of 16, since storage is read in pages, the runs into strata of equal size, and one run is drawn
from each stratum. The draw depends only on the tensor's name, its size in the base and the seed,
through splitmix64 (Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA
2014), so that it is independent of library versions.
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

RUN = 16
LEAST = 256
"""Minimum of sampled elements per tensor: norms are small but scale differently from the rest."""

Indices: TypeAlias = npt.NDArray[np.int64]


def coordinates(name: str, count: int, size: int, total: int, seed: int) -> Indices:
    """The sampled indices of a tensor of `count` elements in a model of `total`, ascending."""
    wanted = max(LEAST, -(-size * count // total))
    blocks = count // RUN
    strata = -(-wanted // RUN)
    if strata >= blocks:
        return np.arange(count)
    edges: Indices = np.arange(strata + 1) * blocks // strata
    widths = edges[1:] - edges[:-1]
    text = json.dumps([seed, name, count]).encode()
    start = int.from_bytes(hashlib.sha256(text).digest()[:8], "little")
    # The upper 32 bits times the width: uniform up to one part in 2^32 / width.
    draws = (_splitmix(start, strata) >> np.uint64(32)).astype(np.int64)
    chosen = edges[:-1] + (draws * widths >> 32)
    return (chosen[:, None] * RUN + np.arange(RUN)).ravel()


def _splitmix(start: int, count: int) -> npt.NDArray[np.uint64]:
    """The first `count` outputs of splitmix64 from the state `start`."""
    step, first, second = (
        np.uint64(0x9E3779B97F4A7C15),
        np.uint64(0xBF58476D1CE4E5B9),
        np.uint64(0x94D049BB133111EB),
    )
    with np.errstate(over="ignore"):
        state = np.uint64(start) + step * np.arange(1, count + 1, dtype=np.uint64)
        state = (state ^ (state >> np.uint64(30))) * first
        state = (state ^ (state >> np.uint64(27))) * second
    return state ^ (state >> np.uint64(31))
