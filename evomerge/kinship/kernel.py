"""The choice of the kernel of a pass: compiled for large passes, else torch.

Both give the same sums to the bit. The compiled one needs numba (`pip install evomerge[fast]`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TypeAlias

import torch

from evomerge.kinship.errors import KinshipError
from evomerge.kinship.headers import StoredTensor
from evomerge.kinship.passes import Floats

KERNELS = ("auto", "compiled", "torch")

# Bytes of a pass above which the compiled kernel saves more than numba's import costs (1 s).
WORTH_COMPILING = 4 << 30

Read: TypeAlias = Callable[[Sequence[StoredTensor], int, int, int], Floats | None]
"""`compiled.read`."""


def choose_kernel(kernel: str, device: torch.device, size: int) -> Read | None:
    """The compiled kernel if requested, or for `auto` if it is faster for `size` bytes.

    Returns:
        None for torch.

    Raises:
        KinshipError: `kernel` is not one of KERNELS, or the compiled one is unavailable.
    """
    if kernel not in KERNELS:
        raise KinshipError(f"unknown kernel {kernel!r}", f"use {', '.join(KERNELS)}")
    possible = device.type == "cpu" and find_spec("numba") is not None
    if kernel == "compiled" and not possible:
        raise KinshipError(
            "the compiled kernel needs numba, and the CPU as the device",
            "pip install 'evomerge[fast]'",
        )
    if kernel == "torch" or not possible or (kernel == "auto" and size < WORTH_COMPILING):
        return None
    try:
        from evomerge.kinship import compiled

        compiled.prepare()
    except Exception:  # numba rejects some versions of Python and numpy, and some processors
        if kernel == "compiled":
            raise
        return None
    return compiled.read
