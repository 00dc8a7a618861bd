"""Detection of NaN and infinity in weight files by their bit patterns.

A model with a single NaN may still give answers, but it spreads NaN to all of its merges.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evomerge.kinship.headers import StoredTensor

_BLOCK = 1 << 22
"""Bytes per block."""

# dtype -> (integer type of the same width, mask without the sign, smallest non-finite pattern)
_FORMS: dict[str, tuple[npt.DTypeLike, int, int]] = {
    "F64": (np.uint64, (1 << 63) - 1, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7FFF_FFFF, 0x7F80_0000),
    "F16": (np.uint16, 0x7FFF, 0x7C00),
    "BF16": (np.uint16, 0x7FFF, 0x7F80),
    "F8_E5M2": (np.uint8, 0x7F, 0x7C),
    "F8_E4M3": (np.uint8, 0x7F, 0x7F),
}


def first_not_finite(file: Path, tensors: Iterable[StoredTensor]) -> str | None:
    """The name of the first of `tensors`, by position in `file`, that has NaN or infinity."""
    ordered = sorted(tensors, key=lambda tensor: tensor.offset)
    with file.open("rb", buffering=0) as stream:
        for tensor in ordered:
            stream.seek(tensor.offset)
            left = tensor.size if tensor.dtype in _FORMS else 0
            while left > 0:
                block = stream.read(min(left, _BLOCK))
                if not block:
                    break  # the file was truncated; the next reader reports it
                left -= len(block)
                if not _finite(block, tensor.dtype):
                    return tensor.name
    return None


def _finite(block: bytes, dtype: str) -> bool:
    kind, mask, limit = _FORMS[dtype]
    width = np.dtype(kind).itemsize
    numbers = np.frombuffer(block[: len(block) // width * width], kind)
    return not numbers.size or int(np.bitwise_and(numbers, mask, dtype=kind).max()) < limit
