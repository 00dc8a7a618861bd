"""The arithmetic of a pass, compiled: optional, several times as fast as the torch path.

The same sums as `products.Products` takes: float32 products in blocks of at most 1,024 elements,
summed in float64. A block of all rows is decoded from the dtypes of their files, less the base's,
into a buffer that stays in the first-level cache; then tiles of 4 x 2 rows are multiplied with
their sums in registers. Measured orders of the loops: `scripts/bench/kinship.py`.

numba keeps the machine code beside this file, else in the user's cache folder, for this processor
and this text: whatever the code depends on has to stay in this one file.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from evomerge.kinship.headers import StoredTensor
from evomerge.kinship.passes import Floats
from evomerge.kinship.products import BLOCK
from evomerge.kinship.tensors import DTYPES

_CODES = {torch.bfloat16: 0, torch.float16: 1, torch.float32: 2, torch.float64: 3}

# All rows of a block together, in bytes, and the fewest elements that pay for summing a block.
_CACHE = 1 << 14
_SHORTEST = 256
# Bytes that are read at a time, all rows together: to be in the second-level cache still.
_CHUNK = 1 << 19

# Called by its address in the C library, so that reading needs no turn at the interpreter.
_pread = types.ExternalFunction(
    "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
)

# A NaN has to come out as one: so no flag of those that let the compiler assume there are none.
_SUMS = {"reassoc", "contract", "nsz"}

# From the exponents of float16 to those of float32.
_BIASES = np.float32(2.0**112)


@intrinsic
def _pointer(_context: Any, _address: Any) -> Any:
    """An address as the pointer that `carray` takes: any number of rows without recompiling."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uintp), generate


@njit(nogil=True)
def _decode_bfloat16(address: Any, row: Any, less: Any, count: Any) -> None:
    raw = carray(_pointer(address), count, np.uint16)
    for k in range(count):
        row[k] = np.uint32(np.uint32(raw[k]) << np.uint32(16)).view(np.float32) - less[k]


@njit(nogil=True)
def _decode_float16(address: Any, row: Any, less: Any, count: Any) -> None:
    """Exponent and mantissa moved into place, scaled by the difference of the biases, 2^112.

    So subnormal numbers come out right. Infinity and NaN have an exponent of their own.
    """
    raw = carray(_pointer(address), count, np.uint16)
    for k in range(count):
        bits = np.uint32(raw[k])
        size = np.uint32(np.uint32(bits & np.uint32(0x7FFF)) << np.uint32(13))
        special = np.uint32(size | np.uint32(0x7F800000))
        finite: np.uint32 = np.float32(np.uint32(size).view(np.float32) * _BIASES).view(np.uint32)
        kept = np.uint32(special if size >= np.uint32(0x0F800000) else finite)
        sign = np.uint32(np.uint32(bits & np.uint32(0x8000)) << np.uint32(16))
        row[k] = np.uint32(kept | sign).view(np.float32) - less[k]


@njit(nogil=True)
def _decode_float32(address: Any, row: Any, less: Any, count: Any) -> None:
    raw = carray(_pointer(address), count, np.float32)
    for k in range(count):
        row[k] = raw[k] - less[k]


@njit(nogil=True)
def _decode_float64(address: Any, row: Any, less: Any, count: Any) -> None:
    """Rounded to the row's dtype before the base is taken off, as the torch path does."""
    raw = carray(_pointer(address), count, np.float64)
    for k in range(count):
        row[k] = raw[k]
        row[k] = row[k] - less[k]


@njit(nogil=True)
def _decode(code: Any, address: Any, row: Any, less: Any, count: Any) -> None:
    """Elements from `address` on, less those of `less`, into `row`."""
    if code == 0:
        _decode_bfloat16(address, row, less, count)
    elif code == 1:
        _decode_float16(address, row, less, count)
    elif code == 2:
        _decode_float32(address, row, less, count)
    else:
        _decode_float64(address, row, less, count)


@njit(nogil=True, fastmath=_SUMS)
def _four_by_two(rows: Any, i: Any, j: Any, count: Any, gram: Any) -> None:
    """Products of rows i .. i + 3 with rows j and j + 1: as many sums as hide their latency."""
    a0, a1, a2, a3, b0, b1 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3], rows[j], rows[j + 1]
    zero = rows.dtype.type(0)
    s00, s01, s10, s11, s20, s21, s30, s31 = zero, zero, zero, zero, zero, zero, zero, zero
    for k in range(count):
        x0, x1, x2, x3, y0, y1 = a0[k], a1[k], a2[k], a3[k], b0[k], b1[k]
        s00 += x0 * y0
        s01 += x0 * y1
        s10 += x1 * y0
        s11 += x1 * y1
        s20 += x2 * y0
        s21 += x2 * y1
        s30 += x3 * y0
        s31 += x3 * y1
    gram[i, j] += s00
    gram[i, j + 1] += s01
    gram[i + 1, j] += s10
    gram[i + 1, j + 1] += s11
    gram[i + 2, j] += s20
    gram[i + 2, j + 1] += s21
    gram[i + 3, j] += s30
    gram[i + 3, j + 1] += s31


@njit(nogil=True, fastmath=_SUMS)
def _triangle(rows: Any, i: Any, count: Any, gram: Any) -> None:
    """Products of rows i .. i + 3 with one another, lower triangle."""
    a0, a1, a2, a3 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
    zero = rows.dtype.type(0)
    s00, s10, s11, s20, s21, s22 = zero, zero, zero, zero, zero, zero
    s30, s31, s32, s33 = zero, zero, zero, zero
    for k in range(count):
        x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
        s00 += x0 * x0
        s10 += x1 * x0
        s11 += x1 * x1
        s20 += x2 * x0
        s21 += x2 * x1
        s22 += x2 * x2
        s30 += x3 * x0
        s31 += x3 * x1
        s32 += x3 * x2
        s33 += x3 * x3
    gram[i, i] += s00
    gram[i + 1, i] += s10
    gram[i + 1, i + 1] += s11
    gram[i + 2, i] += s20
    gram[i + 2, i + 1] += s21
    gram[i + 2, i + 2] += s22
    gram[i + 3, i] += s30
    gram[i + 3, i + 1] += s31
    gram[i + 3, i + 2] += s32
    gram[i + 3, i + 3] += s33


@njit(nogil=True)
def _add(
    addresses: Any, codes: Any, sizes: Any, places: Any, length: Any, rows: Any, first: Any,
    gram: Any,
) -> None:  # fmt: skip
    """Add the products of rows `first` on with all rows before them and with one another.

    `rows` holds a block; its last row is zero and is what the base's row (the first source) is
    reduced by. Sources are given by address, code of the dtype, bytes per element, row.
    """
    height, block = rows.shape
    for start in range(0, length, block):
        count = min(block, length - start)
        for r in range(len(addresses)):
            address = addresses[r] + np.uint64(start * sizes[r])
            less = rows[places[0]] if r else rows[height - 1]
            _decode(codes[r], address, rows[places[r]], less, count)
        for i in range(first, height - 1, 4):
            for j in range(0, i, 2):
                _four_by_two(rows, i, j, count, gram)
            _triangle(rows, i, count, gram)


@njit(nogil=True)
def _read(file: Any, address: Any, size: Any, position: Any) -> bool:
    """Read `size` bytes to `address`; False where the file ends early or cannot be read."""
    done = 0
    while done < size:
        got = _pread(file, address + np.uint64(done), np.uint64(size - done), position + done)
        if got <= 0:
            return False
        done += got
    return True


def _sum(
    files: Any, positions: Any, chunk: Any, addresses: Any, codes: Any, sizes: Any, places: Any,
    length: Any, rows: Any, first: Any, gram: Any,
) -> bool:  # fmt: skip
    """Add the products of `length` elements of every source, `chunk` by `chunk`.

    A source with a file is read into the buffer at its address; without (-1), it lies there whole
    and `chunk` is `length`.
    """
    for start in range(0, length, chunk):
        count = min(chunk, length - start)
        for r in range(len(files)):
            position = positions[r] + start * sizes[r]
            if files[r] >= 0 and not _read(files[r], addresses[r], count * sizes[r], position):
                return False
        _add(addresses, codes, sizes, places, count, rows, first, gram)
    return True


_INTEGERS = types.int64[::1]
_SIGNATURES = [
    types.boolean(
        types.int32[::1], _INTEGERS, types.int64, types.uint64[::1], _INTEGERS, _INTEGERS,
        _INTEGERS, types.int64, number[:, ::1], types.int64, types.float64[:, ::1],
    )
    for number in (types.float32, types.float64)
]  # fmt: skip


@functools.cache
def prepare() -> Callable[..., bool]:
    """`_sum` as machine code, from numba's cache where there is one.

    A cache that is damaged or cannot be written (no such folder, a full disk) costs the time to
    compile, some seconds, and nothing else.
    """
    compiled: Callable[..., bool]
    try:
        compiled = njit(_SIGNATURES, nogil=True, cache=True)(_sum)
    except Exception:  # what a damaged file makes the reader of it raise is anything
        compiled = njit(_SIGNATURES, nogil=True)(_sum)
    return compiled


def chunk_length(rows: int) -> int:
    """Elements of each row to be added at a time: a multiple of the longest block."""
    return BLOCK * max(16, min(256, (1 << 19) // (rows * BLOCK)))


class CompiledProducts:
    """`products.Products` compiled: the same arguments, the same sums but for rounding.

    The addresses of weights are handed on, so they must be contiguous and on the CPU.
    """

    def __init__(
        self,
        known: int,
        new: int,
        *,
        length: int,
        block: int = BLOCK,
        exact: bool = False,
    ) -> None:
        # Rows: known deltas | 1, base, new deltas | zero. Fillers make whole tiles of them.
        self._sum = prepare()
        self._known, self._new = known, new
        self._first = known + known % 2
        height = self._first + -(-(2 + new) // 4) * 4
        dtype = np.dtype(np.float64 if exact else np.float32)
        fitting = 1 << int(math.log2(max(1, _CACHE // (dtype.itemsize * height))))
        width = min(block, max(_SHORTEST, fitting))
        self._rows: npt.NDArray[Any] = np.zeros((height + 1, width), dtype)
        self._rows[self._first] = 1
        self._gram = np.zeros((height, height))
        base = self._first + 1
        self._places = np.array([base, *range(known), *range(base + 1, base + 1 + new)], np.int64)

    def add(self, weights: Sequence[torch.Tensor]) -> None:
        """Add a chunk: 1-D weights of equal length, the base's, those of known, of new models."""
        length = weights[0].numel()
        addresses = [weight.data_ptr() for weight in weights]
        self._call([-1] * len(weights), [0] * len(weights), length, addresses,
                   [weight.dtype for weight in weights], length)  # fmt: skip

    def read(self, stored: Sequence[StoredTensor], start: int, stop: int) -> bool:
        """Add elements `start` to `stop` of stored tensors, base, known, new, without the GIL.

        False where one of them cannot be read: the sums are then of no use.
        """
        chunk = _CHUNK // sum(one.item_size for one in stored) // BLOCK * BLOCK or BLOCK
        buffers = [torch.empty(chunk, dtype=DTYPES[one.dtype]) for one in stored]
        positions = [one.offset + start * one.item_size for one in stored]
        with ExitStack() as stack:
            files = []
            for one in stored:
                try:
                    files.append(os.open(one.file, os.O_RDONLY | os.O_CLOEXEC))
                except OSError:
                    return False
                stack.callback(os.close, files[-1])
            addresses = [buffer.data_ptr() for buffer in buffers]
            dtypes = [buffer.dtype for buffer in buffers]
            return self._call(files, positions, chunk, addresses, dtypes, stop - start)

    def _call(
        self,
        files: list[int],
        positions: list[int],
        chunk: int,
        addresses: list[int],
        dtypes: list[torch.dtype],
        length: int,
    ) -> bool:
        return self._sum(
            np.array(files, np.int32),
            np.array(positions, np.int64),
            chunk,
            np.array(addresses, np.uint64),
            np.array([_CODES[dtype] for dtype in dtypes], np.int64),
            np.array([dtype.itemsize for dtype in dtypes], np.int64),
            self._places,
            length,
            self._rows,
            self._first,
            self._gram,
        )

    def total(self) -> Floats:
        """The sums so far: float64, [1 + new, 2 + known + new].

        Rows: base, new. Columns: 1, base, known, new.
        """
        low, base = self._first, self._first + 1
        stop = base + 1 + self._new
        part = self._gram[base:stop]
        own = np.tril(part[:, base:stop])
        own = own + np.tril(own, -1).T
        return np.concatenate(
            [part[:, low : low + 1], own[:, :1], part[:, : self._known], own[:, 1:]], axis=1
        )


def read(
    stored: Sequence[StoredTensor],
    known: int,
    start: int,
    stop: int,
    *,
    block: int = BLOCK,
    exact: bool = False,
) -> Floats | None:
    """The products of elements `start` to `stop` of stored tensors, as `total` gives them.

    None where a file cannot be read; whoever reads it in Python learns why.
    """
    sums = CompiledProducts(known, len(stored) - 1 - known, length=0, block=block, exact=exact)
    return sums.total() if sums.read(stored, start, stop) else None
