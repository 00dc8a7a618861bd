"""The arithmetic of a pass: float32 products in short blocks, summed in float64, through torch.

A plain float32 matrix product loses accuracy with its length: 4e-5 in a correlation at a million
elements. Blocks of at most 1,024 elements keep each partial sum good to some 1e-7, without bias,
and the blocks are summed in float64. Any other kernel can take the place of `Products`: it is
given the weights of one chunk at a time, in the dtypes of their files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from evomerge.kinship.passes import Floats

BLOCK = 1024
# Below this many elements the blocks are too few for their errors to cancel: float64 outright.
EXACT = 16 * BLOCK
# Rows of a batched product: beyond eight, MKL's small products become several times slower.
TILE = 8
# All rows of a chunk together. On a CPU they are to stay in the caches, but short operations make
# two threads slower than one (they wait for the interpreter); below 2 MB a third of the speed went.
CHUNK_BYTES = {"cpu": 1 << 22}
DEVICE_CHUNK_BYTES = 1 << 28


def chunk_length(rows: int, device: torch.device, block: int = BLOCK) -> int:
    """Elements of each row to be multiplied at a time: a multiple of `block`."""
    wanted = CHUNK_BYTES.get(device.type, DEVICE_CHUNK_BYTES) // (4 * rows * block)
    most = 256 if device.type == "cpu" else 4096
    return block * max(16, min(most, wanted))


@dataclass(frozen=True, slots=True)
class _Views:
    """Parts of the rows: the end to be zero, base and deltas, and per tile two factors and a sum.

    Of the products of new with new rows the tiles take the lower triangle only.
    """

    padding: torch.Tensor
    weights: list[torch.Tensor]
    deltas: list[torch.Tensor]
    bases: list[torch.Tensor]
    tiles: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


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
        self._block = block
        dtype = torch.float64 if exact else torch.float32
        # Rows: 1, known deltas, base, new deltas. What is multiplied is the end of it, from base.
        self._rows = torch.empty((2 + known + new, length), dtype=dtype, device=device)
        self._rows[0] = 1
        self._first = 1 + known
        size = (1 + new, 2 + known + new)
        self._sums = torch.zeros(size, dtype=torch.float64, device=device)
        self._whole = self._views(length)

    def add(self, weights: Sequence[torch.Tensor]) -> None:
        """Add a chunk: 1-D weights of equal length, the base's, those of known, of new models."""
        length = weights[0].numel()
        views = self._whole if length == self._rows.shape[1] else self._views(length)
        if views.padding.numel():
            views.padding.zero_()
        if self._rows.device.type != "cpu":
            weights = [weight.to(self._rows.device) for weight in weights]
        # Few calls that do much: between calls the workers contend for the interpreter.
        torch._foreach_copy_(views.weights, list(weights))
        torch._foreach_sub_(views.deltas, views.bases)
        for left, right, place in views.tiles:
            place.add_(torch.bmm(left, right).sum(dim=0, dtype=torch.float64))

    def _views(self, length: int) -> _Views:
        """What a chunk of `length` elements writes and multiplies."""
        blocks = -(-length // self._block)
        rows = self._rows[:, : blocks * self._block]
        first, height = self._first, len(rows)
        order = [first, *range(1, first), *range(first + 1, height)]
        weights = [rows[index, :length] for index in order]
        cut = rows.view(height, blocks, self._block).transpose(0, 1)
        tiles = []
        for start in range(first, height, TILE):
            stop = min(start + TILE, height)
            place = self._sums[start - first : stop - first, :stop]
            tiles.append((cut[:, start:stop], cut[:, :stop].transpose(1, 2), place))
        deltas = weights[1:]
        return _Views(rows[1:, length:], weights, deltas, weights[:1] * len(deltas), tiles)

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
