"""Which elements of a tensor are sampled: the same for every model of a base, at any time.

Stratified by tensor, in proportion to its size, and within a tensor: its elements are cut into
runs of 16, the runs into strata of equal number, and of each stratum one run is taken. Runs, and
not single elements, since storage is read by pages. The choice hangs on the tensor's name, its
size in the base and the seed alone, by splitmix64 (Steele, Lea, Flood, Fast splittable
pseudorandom number generators, OOPSLA 2014), so that no version of a library changes it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

RUN = 16
LEAST = 256
"""Elements taken of every tensor at least: norms are small, and each has factors of its own."""

Indices: TypeAlias = npt.NDArray[np.int64]


def coordinates(name: str, count: int, size: int, total: int, seed: int) -> Indices:
    """The sampled places of a tensor of `count` elements in a model of `total`, ascending."""
    wanted = max(LEAST, -(-size * count // total))
    blocks = count // RUN
    strata = -(-wanted // RUN)
    if strata >= blocks:
        return np.arange(count)
    edges: Indices = np.arange(strata + 1) * blocks // strata
    widths = edges[1:] - edges[:-1]
    text = json.dumps([seed, name, count]).encode()
    start = int.from_bytes(hashlib.sha256(text).digest()[:8], "little")
    # The upper 32 bits times the width: a uniform choice but for one part in 2^32 / width.
    draws = (_splitmix(start, strata) >> np.uint64(32)).astype(np.int64)
    chosen = edges[:-1] + (draws * widths >> 32)
    return (chosen[:, None] * RUN + np.arange(RUN)).ravel()


def _splitmix(start: int, count: int) -> npt.NDArray[np.uint64]:
    """The first numbers of the generator splitmix64 from a state."""
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
