"""Detection of NaN and infinity in weight files by their bit patterns.

A model with a single NaN may still give answers, but it spreads NaN to all of its merges.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from io import RawIOBase
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


_OVERFLOW = {
    ("F32", "float16"): 0x477F_F000,
    ("BF16", "float16"): 0x4780,
    ("F32", "bfloat16"): 0x7F7F_8000,
}
"""The smallest pattern that rounds to infinity when stored weights are loaded as another dtype."""


def first_not_finite(
    file: Path,
    tensors: Iterable[StoredTensor],
    *,
    loaded_as: str = "auto",
    sums: dict[str, int] | None = None,
) -> str | None:
    """The name of the first of `tensors`, by position in `file`, that has NaN or infinity.

    Args:
        loaded_as: torch's name of a dtype; numbers too large for it count as infinite.
        sums: filled with a checksum of each tensor's bytes, to tell equal tensors from others.
    """
    ordered = sorted(tensors, key=lambda tensor: tensor.offset)
    with file.open("rb", buffering=0) as stream:
        for tensor in ordered:
            checked = tensor.dtype in _FORMS
            limit = _OVERFLOW.get((tensor.dtype, loaded_as))
            total = 0
            for block in _blocks(stream, tensor) if checked or sums is not None else ():
                if checked and not _finite(block, tensor.dtype, limit):
                    return tensor.name
                if sums is not None:
                    total = zlib.crc32(block, total)
            if sums is not None:
                sums[tensor.name] = total
    return None


def _blocks(stream: RawIOBase, tensor: StoredTensor) -> Iterator[bytes]:
    """The bytes of a tensor; fewer where the file was truncated, which its next reader reports."""
    stream.seek(tensor.offset)
    left = tensor.size
    while left > 0 and (block := stream.read(min(left, _BLOCK))):
        left -= len(block)
        yield block


def _finite(block: bytes, dtype: str, limit: int | None = None) -> bool:
    kind, mask, infinity = _FORMS[dtype]
    width = np.dtype(kind).itemsize
    numbers = np.frombuffer(block[: len(block) // width * width], kind)
    largest = int(np.bitwise_and(numbers, mask, dtype=kind).max()) if numbers.size else 0
    return largest < (infinity if limit is None else limit)
