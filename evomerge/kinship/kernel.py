"""Which code multiplies the rows of a pass: compiled where that pays, else torch.

Both take the same sums and differ by rounding only (about 1e-9 in a pcc of large models), so which
one it is belongs to no identity. The compiled one needs numba (`pip install evomerge[fast]`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Protocol

import torch

from evomerge.kinship import products
from evomerge.kinship.errors import KinshipError
from evomerge.kinship.passes import Floats

KERNELS = ("auto", "compiled", "torch")

# Bytes of a pass from which on numba's import and its compiled code (1 s together) are worth it.
WORTH_COMPILING = 4 << 30


class Sums(Protocol):
    """The Gram rows of [base, new deltas] with [1, base, known deltas, new deltas]."""

    def add(self, weights: Sequence[torch.Tensor]) -> None:
        """Add a chunk: 1-D weights of equal length, the base's, those of known, of new models."""

    def total(self) -> Floats:
        """The sums so far: float64, [1 + new, 2 + known + new].

        Rows: base, new. Columns: 1, base, known, new.
        """


@dataclass(frozen=True, slots=True)
class Kernel:
    """`sums(known, new, length=, exact=)` adds chunks of `chunk(rows)` elements at most.

    `read(stored, known, start, stop, exact=)` reads files by itself and gives the total at once,
    or None if that failed. `reader` is the faster way to read.
    """

    name: str
    reader: str
    sums: Callable[..., Sums]
    chunk: Callable[[int], int]
    read: Callable[..., Floats | None] | None = None


def choose_kernel(kernel: str, device: torch.device, block: int, size: int) -> Kernel:
    """The kernel `kernel`, and for `auto` the faster one for a pass of `size` bytes.

    Raises:
        KinshipError: `kernel` is none of KERNELS, or the compiled one is not to be had.
    """
    if kernel not in KERNELS:
        raise KinshipError(f"{kernel!r} is no kernel", f"use {', '.join(KERNELS)}")
    possible = device.type == "cpu" and find_spec("numba") is not None
    if kernel == "compiled" and not possible:
        raise KinshipError(
            "the compiled kernel needs numba, and the CPU as the device",
            "pip install 'evomerge[fast]'",
        )
    if kernel == "torch" or not possible or (kernel == "auto" and size < WORTH_COMPILING):
        return _torch(device, block)
    try:
        from evomerge.kinship import compiled

        compiled.prepare()
    except Exception:  # numba minds the versions of Python, numpy and the processor
        if kernel == "compiled":
            raise
        return _torch(device, block)
    return Kernel(
        "compiled",
        "pread",
        partial(compiled.CompiledProducts, block=block),
        compiled.chunk_length,
        partial(compiled.read, block=block),
    )


def _torch(device: torch.device, block: int) -> Kernel:
    return Kernel(
        "torch",
        "mmap",
        partial(products.Products, device=device, block=block),
        partial(products.chunk_length, device=device, block=block),
    )
