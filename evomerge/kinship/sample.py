"""A stored sample of a model's weights: some coordinates of every tensor, the same for all models.

`places` chooses the coordinates, so samples of one base are comparable whenever they were taken.

The file is a numpy .npz archive, loadable without pickle: `header`, UTF-8 JSON as bytes, and
`weights`, the bytes of the elements in the dtypes of the model's files, tensor after tensor.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from evomerge.kinship.errors import PassFormatError, WeightFileError
from evomerge.kinship.headers import StoredTensor, read_folder
from evomerge.kinship.matching import match
from evomerge.kinship.passes import Floats, Shape
from evomerge.kinship.places import Indices, coordinates

FORMAT = 1
SIZE = 1_000_000

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}

Raw: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class SampledTensor:
    """The sampled weights of one tensor, in ascending order of their index.

    Attributes:
        rows, row_size: of the base's tensor, to which the coordinates refer.
        held: elements that the model has; coordinates beyond are left out.
        dtype: name of the dtype in safetensors; BF16 is stored as 16-bit integers.
    """

    name: str
    rows: int
    row_size: int
    held: int
    dtype: str
    weights: Raw

    @property
    def count(self) -> int:
        """Elements of the base's tensor."""
        return self.rows * self.row_size


@dataclass(frozen=True, eq=False)
class Sample:
    """The sample of one model: `size` of the `total` elements of the base, chosen by `seed`."""

    size: int
    total: int
    seed: int
    tensors: Mapping[str, SampledTensor] = field(repr=False)

    @property
    def layout(self) -> tuple[int, int, int]:
        """What determines the coordinates: samples with the same layout are comparable."""
        return self.size, self.total, self.seed

    @property
    def held(self) -> int:
        """Elements in the sample."""
        return sum(len(one.weights) for one in self.tensors.values())

    def shape(self, base: Sample) -> Shape:
        """The rows that the model has of every tensor of the base, at most the base's."""
        held = ((name, self.tensors.get(name)) for name in base.tensors)
        return tuple(sorted((name, one.held // one.row_size if one else 0) for name, one in held))

    def length(self, name: str, count: int) -> int:
        """The number of sampled weights among a tensor's first `count` elements."""
        one = self.tensors[name]
        places = coordinates(name, one.count, *self.layout)
        return min(int(np.searchsorted(places, count)), len(one.weights))

    def to_bytes(self) -> bytes:
        """The sample as file content; equal samples give equal bytes."""
        entries = [
            [one.name, one.rows, one.row_size, one.held, one.dtype] for one in self.tensors.values()
        ]
        header = {"format": FORMAT, "layout": self.layout, "tensors": entries}
        text = json.dumps(header, separators=(",", ":")).encode()
        weights = b"".join(one.weights.tobytes() for one in self.tensors.values())
        buffer = io.BytesIO()
        np.savez(
            buffer, header=np.frombuffer(text, np.uint8), weights=np.frombuffer(weights, np.uint8)
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Sample:
        """The inverse of `to_bytes`.

        Raises:
            PassFormatError: the bytes are damaged or of an unknown format.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                header = json.loads(archive["header"].tobytes())
                weights = archive["weights"].tobytes()
            if header["format"] != FORMAT:
                raise PassFormatError(
                    f"a sample of unknown format {header['format']}",
                    "use a newer evomerge, or take the sample again",
                )
            size, total, seed = map(int, header["layout"])
            return cls(size, total, seed, _tensors(header, weights))
        except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError,
                zipfile.BadZipFile) as error:  # fmt: skip
            raise PassFormatError(f"damaged sample: {error}", "take the sample again") from error


def _tensors(header: Mapping[str, Any], weights: bytes) -> dict[str, SampledTensor]:
    result: dict[str, SampledTensor] = {}
    position = 0
    for name, rows, row_size, held, dtype in header["tensors"]:
        places = coordinates(name, rows * row_size, *header["layout"])
        length = int(np.searchsorted(places, held))
        part = np.frombuffer(weights, DTYPES[dtype], length, position)
        position += part.nbytes
        result[name] = SampledTensor(name, rows, row_size, held, dtype, part)
    if position != len(weights):
        raise PassFormatError("damaged sample: weights without a tensor")
    return result


def take_sample(
    base: Path, model: Path | None = None, *, size: int = SIZE, seed: int = 0
) -> Sample:
    """Sample a model's weights at the coordinates that all models of `base` share.

    Args:
        model: the folder of the model; None for the base itself.
        size: approximate number of elements; a model of at most that size is sampled whole.

    Raises:
        WeightFileError: a folder or file cannot be read, or is damaged.
        ShapeMismatchError: a tensor's shapes differ in more than their rows.
    """
    ours = read_folder(base)
    matching = match("base", ours, {"model": read_folder(model or base)})
    total = sum(tensor.base.rows * tensor.base.row_size for tensor in matching.tensors)
    tensors = {}
    for tensor in matching.tensors:
        stored = tensor.models.get("model")
        if stored is None:
            continue
        count = tensor.base.rows * tensor.base.row_size
        places = coordinates(tensor.name, count, size, total, seed)
        held = min(count, stored.rows * stored.row_size)
        weights = _read(stored, places[: np.searchsorted(places, held)])
        tensors[tensor.name] = SampledTensor(
            tensor.name, tensor.base.rows, tensor.base.row_size, held, stored.dtype, weights
        )
    return Sample(size, total, seed, tensors)


def _read(stored: StoredTensor, places: Indices) -> Raw:
    """The elements at `places`, read by position, so that only their pages are read."""
    raw: Raw = np.empty(len(places), DTYPES[stored.dtype])
    buffer, size = memoryview(raw.view(np.uint8).data), stored.item_size
    firsts = np.flatnonzero(np.diff(places, prepend=-2) != 1).tolist()
    try:
        with stored.file.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):  # disable readahead
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for first, last in zip(firsts, [*firsts[1:], len(places)], strict=True):
                run = buffer[first * size : last * size]
                _fill(run, file.fileno(), stored.offset + int(places[first]) * size)
    except (OSError, EOFError) as error:
        raise WeightFileError(f"cannot read {stored.name} in {stored.file}: {error}") from error
    return raw


def _fill(buffer: memoryview, file: int, position: int) -> None:
    while buffer:
        got = os.preadv(file, [buffer], position)
        if not got:
            raise EOFError("the file ends before the tensor")
        buffer, position = buffer[got:], position + got


def as_floats(raw: Raw, dtype: str) -> Floats:
    """Stored elements as float64 (exact)."""
    if dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float64)
