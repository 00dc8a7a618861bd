"""Reading ranges of stored tensors in memory bounded by the range.

There are two readers. `mmap` maps the pages of a range and returns views of them; `pread` reads
into a buffer. Both keep a file open only while a range is read, so that many models with many
shards do not run out of file descriptors. Elements come in the dtype of the file; `read` converts
them to float32, which is exact for bfloat16 and float16.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch

from evomerge.kinship.errors import KinshipError, WeightFileError
from evomerge.kinship.headers import StoredTensor

READERS = ("auto", "mmap", "pread")
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


class Elements(Protocol):
    """A range of elements of a stored tensor, readable until closed."""

    def take(self, start: int, stop: int) -> torch.Tensor:
        """Elements `start` to `stop` of the flattened tensor, 1-D, in the dtype of the file.

        Read-only, and valid until the next `take` or `close`.
        """

    def close(self) -> None:
        """Release memory and file."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MappedElements(_Closing):
    """Elements `start` to `stop` of a tensor through a memory map of their pages."""

    def __init__(self, stored: StoredTensor, start: int, stop: int) -> None:
        self._stored = stored
        first = stored.offset + start * stored.item_size
        last = stored.offset + stop * stored.item_size
        self._origin = first - first % mmap.ALLOCATIONGRANULARITY
        file = _open(stored)
        try:
            # A private copy-on-write map, since torch requires writable memory.
            self._map: mmap.mmap | None = mmap.mmap(
                file, last - self._origin, access=mmap.ACCESS_COPY, offset=self._origin
            )
        except (OSError, ValueError) as error:
            raise _shrunk(stored) from error
        finally:
            os.close(file)

    def take(self, start: int, stop: int) -> torch.Tensor:
        stored = self._stored
        if self._map is None:
            raise ValueError("taken from after close")
        offset = stored.offset + start * stored.item_size - self._origin
        dtype = DTYPES[stored.dtype]
        if offset % stored.item_size == 0:
            return torch.frombuffer(self._map, dtype=dtype, count=stop - start, offset=offset)
        # Torch requires aligned elements, which the format does not guarantee.
        size = (stop - start) * stored.item_size
        raw = torch.frombuffer(self._map, dtype=torch.uint8, count=size, offset=offset)
        return raw.clone().view(dtype)

    def close(self) -> None:
        # Not closed here: views may still exist; the map is freed with the last of them.
        self._map = None


class BufferedElements(_Closing):
    """Elements of a tensor through positioned reads into one buffer of `longest` elements."""

    def __init__(self, stored: StoredTensor, longest: int) -> None:
        self._stored = stored
        self._buffer = torch.empty(longest * stored.item_size, dtype=torch.uint8)
        self._bytes = memoryview(self._buffer.numpy().data)
        self._elements = self._buffer.view(DTYPES[stored.dtype])
        self._file: int | None = _open(stored)

    def take(self, start: int, stop: int) -> torch.Tensor:
        stored = self._stored
        if self._file is None:
            raise ValueError("taken from after close")
        size = (stop - start) * stored.item_size
        position = stored.offset + start * stored.item_size
        done = 0
        while done < size:
            got = os.preadv(self._file, [self._bytes[done:size]], position + done)
            if not got:
                raise _shrunk(stored)
            done += got
        return self._elements[: stop - start]

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def open_elements(
    stored: StoredTensor, start: int, stop: int, *, longest: int, reader: str
) -> Elements:
    """Open elements `start` to `stop` for takes of at most `longest`; `reader` mmap or pread."""
    if reader == "mmap":
        return MappedElements(stored, start, stop)
    return BufferedElements(stored, min(longest, stop - start))


def read(
    stored: StoredTensor, start: int = 0, stop: int | None = None, *, reader: str = "auto"
) -> torch.Tensor:
    """Elements `start` to `stop` (default: all) of the flattened tensor as float32, 1-D.

    Raises:
        WeightFileError: the file was deleted or truncated since its header was read.
    """
    stop = stored.rows * stored.row_size if stop is None else stop
    if start == stop:
        return torch.empty(0)
    chosen = choose_reader(reader, [stored])
    with open_elements(stored, start, stop, longest=stop - start, reader=chosen) as elements:
        return elements.take(start, stop).to(torch.float32, copy=True)


def choose_reader(reader: str, tensors: Iterable[StoredTensor], prefer: str = "mmap") -> str:
    """`mmap` or `pread`: `reader` itself, or for `auto` `prefer` if the memory allows it.

    Mapped pages count as memory of the process, and a container that exceeds its limit is killed;
    so `auto` maps only weights that fit twice into the available memory.

    Raises:
        KinshipError: `reader` is not one of READERS.
    """
    if reader not in READERS:
        raise KinshipError(f"unknown reader {reader!r}", f"use {', '.join(READERS)}")
    if reader != "auto":
        return reader
    if prefer != "mmap":
        return prefer
    return "mmap" if 2 * sum(stored.size for stored in tensors) <= memory_limit() else "pread"


def memory_limit() -> int:
    """Bytes of memory available to this process: the machine's RAM or its cgroup limit."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text("ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            limit = min(limit, int(text))
    return limit


def _open(stored: StoredTensor) -> int:
    try:
        return os.open(stored.file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise WeightFileError(f"cannot read {stored.file}: {error.strerror}") from error


def _shrunk(stored: StoredTensor) -> WeightFileError:
    return WeightFileError(
        f"{stored.file} ends before tensor {stored.name} does",
        "it changed while being read: measure again",
    )
