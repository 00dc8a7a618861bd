"""Gram sums of a pass, compiled with numba: optional, several times as fast as the torch path.

The sums equal those of `products.Products` to the bit. A block of all rows is decoded from the
dtypes of the files, reduced by the base and rounded to its grid; then tiles of 4 x 2 rows are
multiplied with their sums in registers. Benchmark: `scripts/bench/kinship.py`.

numba caches the machine code beside this file, else in the user's cache folder, by processor and
source text of this file only: all code that the result depends on has to stay in this file.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from evomerge.kinship.headers import StoredTensor
from evomerge.kinship.passes import Floats
from evomerge.kinship.products import BLOCK, BLOCKS, mirrored
from evomerge.kinship.tensors import DTYPES

_CODES = {torch.bfloat16: 0, torch.float16: 1, torch.float32: 2, torch.float64: 3}

# Bytes read at a time, over all rows, so that they stay in the L2 cache.
_CHUNK = 1 << 19

# Called by its address in the C library, so that reading does not need the GIL.
_pread = types.ExternalFunction(
    "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
)

# Without `nnan` and `ninf`: the compiler must not assume that there are no NaN or infinities.
_SUMS = {"reassoc", "contract", "nsz"}

# 2^(127 - 15): from the exponent bias of float16 to that of float32.
_BIASES = np.float32(2.0**112)


@intrinsic
def _pointer(_context: Any, _address: Any) -> Any:
    """An address as a pointer for `carray`, so that the number of rows needs no recompilation."""

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
    """Exponent and mantissa are shifted into place, then scaled by the bias difference, 2^112.

    The scaling makes subnormal numbers come out right; infinity and NaN are handled apart.
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
    """Rounded to the row's dtype before the base is subtracted, as the torch path does."""
    raw = carray(_pointer(address), count, np.float64)
    for k in range(count):
        row[k] = raw[k]
        row[k] = row[k] - less[k]


@njit(nogil=True)
def _decode(code: Any, address: Any, row: Any, less: Any, count: Any) -> None:
    """Write `count` elements from `address` minus those of `less` to `row`."""
    if code == 0:
        _decode_bfloat16(address, row, less, count)
    elif code == 1:
        _decode_float16(address, row, less, count)
    elif code == 2:
        _decode_float32(address, row, less, count)
    else:
        _decode_float64(address, row, less, count)


@njit(nogil=True)
def _onto_grid(delta: Any, row: Any, count: Any) -> None:
    """`products._onto_grid` of one block, from float32 to float64; zeroes the rest of `row`."""
    bits = delta.view(np.int32)
    largest = np.int32(0)
    for k in range(count):
        largest = max(largest, np.int32(bits[k] & np.int32(0x7FFFFFFF)))
    exponent = min(np.int32(255), np.int32((largest >> 23) + np.int32(3)))
    raised: np.float32 = np.int32(np.int32(exponent << 23) | np.int32(1 << 22)).view(np.float32)
    for k in range(count):
        row[k] = np.float32(np.float32(delta[k] + raised) - raised)
    row[count:] = 0.0


@njit(nogil=True, fastmath=_SUMS)
def _four_by_two(rows: Any, i: Any, j: Any, sums: Any, at: Any) -> None:
    """Products of rows i .. i + 3 with rows j and j + 1; eight sums hide the FMA latency."""
    a0, a1, a2, a3, b0, b1 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3], rows[j], rows[j + 1]
    s00, s01, s10, s11, s20, s21, s30, s31 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(rows.shape[1]):
        x0, x1, x2, x3, y0, y1 = a0[k], a1[k], a2[k], a3[k], b0[k], b1[k]
        s00 += x0 * y0
        s01 += x0 * y1
        s10 += x1 * y0
        s11 += x1 * y1
        s20 += x2 * y0
        s21 += x2 * y1
        s30 += x3 * y0
        s31 += x3 * y1
    sums[at, j], sums[at, j + 1] = s00, s01
    sums[at + 1, j], sums[at + 1, j + 1] = s10, s11
    sums[at + 2, j], sums[at + 2, j + 1] = s20, s21
    sums[at + 3, j], sums[at + 3, j + 1] = s30, s31


@njit(nogil=True)
def _add(
    addresses: Any, codes: Any, sizes: Any, length: Any, rows: Any, first: Any, floats: Any,
    levels: Any, done: Any,
) -> Any:  # fmt: skip
    """Add the products of rows `first` on with all rows up to their own.

    Row 0 is all ones, the rows of the deltas follow. The first source is the base; a source is
    given by address, dtype code and bytes per element. `floats` holds a delta, the base's block
    and zeros. `levels` holds a sum of 2^l blocks for each bit l that is set in `done`.
    """
    block, none = rows.shape[1], floats[2]
    delta, base = floats[0], floats[1]
    for start in range(0, length, block):
        count = min(block, length - start)
        _decode(codes[0], addresses[0] + np.uint64(start * sizes[0]), base, none, count)
        for r in range(1, len(addresses)):
            address = addresses[r] + np.uint64(start * sizes[r])
            _decode(codes[r], address, delta, base, count)
            _onto_grid(delta, rows[r], count)
        level = 0
        while done >> level & 1:
            level += 1
        sums = levels[level]
        for at in range(0, len(sums), 4):
            for j in range(0, first + at + 4, 2):
                _four_by_two(rows, first + at, j, sums, at)
        for below in range(level):
            sums += levels[below]
        done += 1
    return done


@njit(nogil=True)
def _read(file: Any, address: Any, size: Any, position: Any) -> bool:
    """Read `size` bytes to `address`; False if the file ends early or cannot be read."""
    done = 0
    while done < size:
        got = _pread(file, address + np.uint64(done), np.uint64(size - done), position + done)
        if got <= 0:
            return False
        done += got
    return True


def _sum(
    files: Any, positions: Any, chunk: Any, addresses: Any, codes: Any, sizes: Any, length: Any,
    rows: Any, first: Any, floats: Any, levels: Any,
) -> Any:  # fmt: skip
    """Add the products of `length` elements of every source, `chunk` by `chunk`.

    Returns the number of blocks in `levels`; 0 if a source cannot be read to its end.
    """
    done = 0
    for start in range(0, length, chunk):
        count = min(chunk, length - start)
        for r in range(len(files)):
            position = positions[r] + start * sizes[r]
            if not _read(files[r], addresses[r], count * sizes[r], position):
                return 0
        done = _add(addresses, codes, sizes, count, rows, first, floats, levels, done)
    return done


_INTEGERS = types.int64[::1]
_SIGNATURE = types.int64(
    types.int32[::1], _INTEGERS, types.int64, types.uint64[::1], _INTEGERS, _INTEGERS,
    types.int64, types.float64[:, ::1], types.int64, types.float32[:, ::1],
    types.float64[:, :, ::1],
)  # fmt: skip


@functools.cache
def prepare() -> Callable[..., int]:
    """`_sum` as machine code, from numba's cache if possible.

    With a damaged or unwritable cache (no such folder, a full disk) it is compiled again, which
    takes some seconds.
    """
    compiled: Callable[..., int]
    try:
        compiled = njit(_SIGNATURE, nogil=True, cache=True)(_sum)
    except Exception:  # reading a damaged cache file can raise anything
        compiled = njit(_SIGNATURE, nogil=True)(_sum)
    return compiled


def read(stored: Sequence[StoredTensor], known: int, start: int, stop: int) -> Floats | None:
    """The Gram rows of elements `start` to `stop` of stored tensors: base, known, new models.

    Returns float64, [new, 1 + known + new], as `products.Products.total` of one piece; None if a
    file cannot be read (reading it in Python tells why).
    """
    chunk = _CHUNK // sum(one.item_size for one in stored) // BLOCK * BLOCK or BLOCK
    buffers = [torch.empty(chunk, dtype=DTYPES[one.dtype]) for one in stored]
    first, new = 1 + known, len(stored) - 1 - known
    # Padded to whole tiles, plus one row, since a tile reads two columns.
    tiles = -(-new // 4) * 4
    rows = np.zeros((first + tiles + 1, BLOCK))
    rows[0] = 1
    levels = np.zeros((BLOCKS.bit_length(), tiles, first + tiles + 1))
    with ExitStack() as stack:
        files = []
        for one in stored:
            try:
                files.append(os.open(one.file, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                return None
            stack.callback(os.close, files[-1])
        done = prepare()(
            np.array(files, np.int32),
            np.array([one.offset + start * one.item_size for one in stored], np.int64),
            chunk,
            np.array([buffer.data_ptr() for buffer in buffers], np.uint64),
            np.array([_CODES[buffer.dtype] for buffer in buffers], np.int64),
            np.array([one.item_size for one in stored], np.int64),
            stop - start,
            rows,
            first,
            np.zeros((3, BLOCK), np.float32),
            levels,
        )
    held = [level for level in range(len(levels)) if done >> level & 1]
    sums = functools.reduce(np.add, (levels[level] for level in held), np.zeros_like(levels[0]))
    return mirrored(sums[:new, : first + new], first) if held else None
