"""Gram sums of a pass with torch, independent of the order of summation.

Floating-point sums depend on their order, which a library chooses by the shape of its operands
and by the processor. So deltas are rounded to a grid on which sums are exact (the pre-rounding of
Demmel and Nguyen, Fast reproducible floating-point summation, ARITH 2013):

    block    1,024 elements of a tensor, counted from its first one
    grid     of a block of one delta: multiples of 2^(e - 21), where its largest entry is below 2^e

A product of two such numbers is an integer of at most 42 bits times a power of two, and a sum of
1,024 of them one of at most 52 bits, which float64 holds exactly in any order of summation. The
sums of blocks are added pairwise (`halved`), in the same order for any chunk size. The rounding
error is 2^-22 of a block's largest entry: some 1e-9 in a pcc of a million weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from evomerge.kinship.passes import Floats

BLOCK = 1024
BITS = 21
BLOCKS = 1024
"""Blocks of a piece, which are summed pairwise. The sums of pieces are added in their order."""

# Rows of a batched product: beyond eight, MKL's small products are several times slower.
_TILE = 8
# Bytes of a chunk on a CPU, all rows together: small enough for the caches, but large enough that
# two threads do not wait for the GIL.
_CHUNK_BYTES = 12 << 20
# Added to the exponent of the largest entry, this gives the constant whose addition rounds to the
# grid: 1.5 · 2^(23 + e - 21), where the spacing of float32 is that of the grid.
_RAISED = 23 - BITS + 1


def chunk_length(rows: int, device: torch.device) -> int:
    """Elements of each row that are multiplied at a time: a power of two of blocks."""
    wanted = _CHUNK_BYTES // (12 * rows * BLOCK)
    on_cpu = max(16, min(128, 1 << max(wanted, 1).bit_length() - 1))
    return BLOCK * (on_cpu if device.type == "cpu" else BLOCKS)


class Products:
    """The Gram rows of new deltas with [1, known deltas, new deltas], of one piece.

    Args:
        known, new: the numbers of deltas.
        length: elements of every chunk except the last, from `chunk_length`.
    """

    def __init__(self, known: int, new: int, *, length: int, device: torch.device) -> None:
        height = 1 + known + new
        self._weights = torch.empty((height, length), device=device)  # base, known, new
        self._rows = torch.empty((height, length), dtype=torch.float64, device=device)
        self._rows[0] = 1
        self._sizes = torch.empty((known + new) * length, device=device)
        self._first = 1 + known
        self._sums: list[torch.Tensor] = []

    def add(self, weights: Sequence[torch.Tensor]) -> None:
        """Add a chunk: 1-D weights of equal length of the base, the known and the new models."""
        length = weights[0].numel()
        blocks = -(-length // BLOCK)
        held, rows = self._weights[:, : blocks * BLOCK], self._rows[:, : blocks * BLOCK]
        held[:, length:] = 0
        # Few calls with much work each: between calls the workers contend for the GIL.
        torch._foreach_copy_(list(held[:, :length]), [each.to(held.device) for each in weights])
        deltas = held[1:]
        deltas.sub_(held[0])
        _onto_grid(deltas.view(len(deltas), blocks, BLOCK), self._sizes)
        rows[1:] = deltas
        cut = rows.view(len(rows), blocks, BLOCK).transpose(0, 1)
        sums = torch.zeros(
            (len(rows) - self._first, len(rows)), dtype=torch.float64, device=rows.device
        )
        for start in range(self._first, len(rows), _TILE):
            stop = min(start + _TILE, len(rows))
            products = torch.bmm(cut[:, start:stop], cut[:, :stop].transpose(1, 2))
            sums[start - self._first : stop - self._first, :stop] = halved(products)
        self._sums.append(sums)

    def total(self) -> Floats:
        """The sums so far: float64, [new, 1 + known + new]."""
        return mirrored(halved(torch.stack(self._sums)).cpu().numpy(), self._first)


def _onto_grid(blocks: torch.Tensor, sizes: torch.Tensor) -> None:
    """Round every block, [.., elements], to multiples of 2^(e - BITS); NaN if that overflows.

    `sizes` is scratch memory for at least as many numbers.
    """
    sizes = sizes[: blocks.numel()].view(blocks.shape)
    exponents = torch.abs(blocks, out=sizes).amax(dim=-1, keepdim=True).view(torch.int32) >> 23
    raised = ((exponents + _RAISED).clamp_(max=255) << 23 | 1 << 22).view(torch.float32)
    blocks.add_(raised).sub_(raised)


def halved(parts: torch.Tensor) -> torch.Tensor:
    """The pairwise sum over the first axis: neighbours are added until one is left.

    Aligned groups of 2^k neighbours can be summed beforehand: the result is the same to the bit.
    """
    while len(parts) > 1:
        if len(parts) % 2:
            parts = torch.cat([parts, torch.zeros_like(parts[:1])])
        parts = parts[0::2] + parts[1::2]
    return parts[0]


def mirrored(rows: Floats, first: int) -> Floats:
    """Complete Gram rows, [new, first + new], of which only the lower triangle was computed."""
    own = np.tril(rows[:, first:])
    # Empty sums may be -0.0 or 0.0, depending on the order; `+ 0.0` makes both 0.0.
    return np.concatenate([rows[:, :first], own + np.tril(own, -1).T], axis=1) + 0.0


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Disable torch's own threads inside the context.

    On busy cores they make small operations five times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
