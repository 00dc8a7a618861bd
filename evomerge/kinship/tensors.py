"""Reading ranges of stored tensors in memory bounded by the range.

A file is open only while a range of it is read, so that many models with many shards do not run
out of file descriptors. Elements come in the dtype of the file; `read` converts them to float32,
which is exact for bfloat16 and float16.
"""

from __future__ import annotations

import os
from contextlib import closing

import torch

from evomerge.kinship.errors import WeightFileError
from evomerge.kinship.headers import StoredTensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


class Elements:
    """The elements of a stored tensor, through positioned reads into one buffer until closed.

    Args:
        longest: elements that one `take` may ask for.
    """

    def __init__(self, stored: StoredTensor, longest: int) -> None:
        self._stored = stored
        self._buffer = torch.empty(longest * stored.item_size, dtype=torch.uint8)
        self._bytes = memoryview(self._buffer.numpy().data)
        self._elements = self._buffer.view(DTYPES[stored.dtype])
        try:
            self._file = os.open(stored.file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise WeightFileError(f"cannot read {stored.file}: {error.strerror}") from error

    def take(self, start: int, stop: int) -> torch.Tensor:
        """Elements `start` to `stop` of the flattened tensor, 1-D, in the dtype of the file.

        Valid until the next `take`.

        Raises:
            WeightFileError: the file was cut since its header was read.
        """
        stored = self._stored
        size = (stop - start) * stored.item_size
        position = stored.offset + start * stored.item_size
        done = 0
        while done < size:
            got = os.preadv(self._file, [self._bytes[done:size]], position + done)
            if not got:
                raise WeightFileError(
                    f"{stored.file} ends before tensor {stored.name} does",
                    "it was changed while it was read: measure again",
                )
            done += got
        return self._elements[: stop - start]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(stored: StoredTensor, start: int = 0, stop: int | None = None) -> torch.Tensor:
    """Elements `start` to `stop` (default: all) of the flattened tensor as float32, 1-D.

    Raises:
        WeightFileError: the file is gone or was cut since its header was read.
    """
    stop = stored.rows * stored.row_size if stop is None else stop
    if start == stop:
        return torch.empty(0)
    with closing(Elements(stored, stop - start)) as elements:
        return elements.take(start, stop).to(torch.float32, copy=True)
