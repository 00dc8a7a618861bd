"""The arithmetic of a pass: float32 products in short blocks, summed in float64, through torch.

A plain float32 matrix product loses accuracy with its length: 4e-5 in a correlation at a million
elements. Blocks of at most 1,024 elements keep each partial sum good to some 1e-7, without bias,
and the blocks are summed in float64. Any other kernel can take the place of `Products`: it is
given the weights of one chunk at a time, in the dtypes of their files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from evomerge.kinship.passes import Floats

BLOCK = 1024
# Below this many elements the blocks are too few for their errors to cancel: float64 outright.
EXACT = 16 * BLOCK
# Rows of a batched product: beyond eight, MKL's small products become several times slower.
TILE = 8
# A chunk's rows together are to stay in a core's second-level cache (or fill a GPU).
CHUNK_BYTES = {"cpu": 1 << 21}
DEVICE_CHUNK_BYTES = 1 << 28


def chunk_length(rows: int, device: torch.device, block: int = BLOCK) -> int:
    """Elements of each row to be multiplied at a time: a multiple of `block`."""
    wanted = CHUNK_BYTES.get(device.type, DEVICE_CHUNK_BYTES) // (4 * rows * block)
    most = 64 if device.type == "cpu" else 4096
    return block * max(16, min(most, wanted))


class Products:
    """The Gram rows of [base, new deltas] with [1, base, known deltas, new deltas].

    Args:
        known, new: the numbers of deltas.
        length: the most elements that a chunk has; a multiple of `block`.
        block: elements per float32 product.
        exact: multiply in float64 instead.
    """

    def __init__(
        self,
        known: int,
        new: int,
        *,
        length: int,
        device: torch.device,
        block: int = BLOCK,
        exact: bool = False,
    ) -> None:
        self._block, self._known = block, known
        dtype = torch.float64 if exact else torch.float32
        # Rows: 1, known deltas, base, new deltas. What is multiplied is the end of it, from base.
        self._rows = torch.empty((2 + known + new, length), dtype=dtype, device=device)
        self._rows[0] = 1
        self._first = 1 + known
        self._order = [
            self._first,
            *range(1, self._first),
            *range(self._first + 1, 2 + known + new),
        ]
        width = 2 + known + new
        self._sums = torch.zeros((1 + new, width), dtype=torch.float64, device=device)

    def add(self, weights: Sequence[torch.Tensor]) -> None:
        """Add a chunk: 1-D weights of equal length, the base's, those of known, of new models."""
        length = weights[0].numel()
        blocks = -(-length // self._block)
        rows = self._rows[:, : blocks * self._block]
        if length < blocks * self._block:
            rows[1:, length:] = 0
        device = rows.device
        views = [rows[index, :length] for index in self._order]
        base = views[0].copy_(weights[0].to(device))
        for view, weight in zip(views[1:], weights[1:], strict=True):
            view.copy_(weight.to(device)).sub_(base)
        self._multiply(rows.view(len(rows), blocks, self._block).transpose(0, 1))

    def _multiply(self, rows: torch.Tensor) -> None:
        """Add the products of [blocks, rows, block]; of the new rows the lower triangle only."""
        for start in range(self._first, rows.shape[1], TILE):
            stop = min(start + TILE, rows.shape[1])
            products = torch.bmm(rows[:, start:stop], rows[:, :stop].transpose(1, 2))
            place = self._sums[start - self._first : stop - self._first, :stop]
            place += products.sum(dim=0, dtype=torch.float64)

    def total(self) -> Floats:
        """The sums so far: float64, [1 + new, 2 + known + new].

        Rows: base, new. Columns: 1, base, known, new.
        """
        sums = self._sums.cpu().numpy()
        own = np.tril(sums[:, self._first :])
        own = own + np.tril(own, -1).T
        return np.concatenate(
            [sums[:, :1], own[:, :1], sums[:, 1 : self._first], own[:, 1:]], axis=1
        )


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Torch without threads inside operations, and with true float32 products, for a while.

    On busy cores torch's own threads make small operations five times slower. A process that
    allows bfloat16 or TF32 for float32 products would lose all accuracy here.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
