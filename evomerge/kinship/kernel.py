"""Which code multiplies the rows of a pass: compiled where that pays, else torch.

Both take the same sums to the bit, so which one it is decides nothing. The compiled one needs numba
(`pip install evomerge[fast]`).
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

# Bytes of a pass from which on numba's import and its compiled code (1 s together) are worth it.
WORTH_COMPILING = 4 << 30

Read: TypeAlias = Callable[[Sequence[StoredTensor], int, int, int], Floats | None]
"""`compiled.read`."""


def choose_kernel(kernel: str, device: torch.device, size: int) -> Read | None:
    """The compiled kernel if `kernel` says so, for `auto` where it is faster for `size` bytes.

    None: torch is to do it.

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
        return None
    try:
        from evomerge.kinship import compiled

        compiled.prepare()
    except Exception:  # numba minds the versions of Python, numpy and the processor
        if kernel == "compiled":
            raise
        return None
    return compiled.read
