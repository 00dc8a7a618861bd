"""The tensors in a folder of safetensors files and their positions, from the headers only.

The format (github.com/huggingface/safetensors): 8 bytes, the little-endian length of a JSON
header; the header, `{name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {..}}`;
then the data, without holes. Headers are validated completely before weights are read, since a
wrong offset would yield other bytes as weights.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from evomerge.kinship.errors import WeightFileError

INDEX = "model.safetensors.index.json"
LONGEST_HEADER = 100_000_000

ITEM_SIZES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}
"""Bytes per element. Other dtypes are left out of kinship, so their size does not matter."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file; `offset` and `size` are in bytes, from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    size: int

    @property
    def rows(self) -> int:
        """The length of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def row_size(self) -> int:
        """Elements per row."""
        return math.prod(self.shape[1:])

    @property
    def item_size(self) -> int:
        """Bytes per element."""
        return ITEM_SIZES[self.dtype]


def read_folder(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a model folder by name, sharded (with an index) or in one file.

    Raises:
        WeightFileError: there are no safetensors weights, a shard is missing, or a file is damaged.
    """
    if (folder / INDEX).is_file():
        return _read_shards(folder)
    files = sorted(folder.glob("*.safetensors"))
    if folder / "model.safetensors" in files:
        return read_header(folder / "model.safetensors")
    if len(files) == 1:
        return read_header(files[0])
    if files:
        raise WeightFileError(
            f"{folder} holds {len(files)} safetensors files and no {INDEX}",
            "add the index, or keep one file only",
        )
    raise WeightFileError(
        f"{folder} holds no safetensors weights", "convert the model, or check the path"
    )


def read_header(file: Path) -> dict[str, StoredTensor]:
    """The tensors of one file by name.

    Raises:
        WeightFileError: the file is truncated or its header is invalid; the message names the file.
    """
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(LONGEST_HEADER, size - 8):
                raise _damaged(file, f"a header of {length} bytes does not fit {size} bytes")
            text = stream.read(length)
    except OSError as error:
        raise WeightFileError(f"cannot read {file}: {error.strerror}") from error
    entries = _json_object(file, text)
    entries.pop("__metadata__", None)
    start = 8 + length
    tensors = [_entry(file, start, name, entry) for name, entry in entries.items()]
    _check_layout(file, tensors, start, size)
    return {tensor.name: tensor for tensor in tensors}


def _read_shards(folder: Path) -> dict[str, StoredTensor]:
    index = folder / INDEX
    try:
        content = _json_object(index, index.read_bytes())
    except OSError as error:
        raise WeightFileError(f"cannot read {index}: {error.strerror}") from error
    places = content.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise _damaged(index, "it has no weight_map")
    shards: dict[str, Mapping[str, StoredTensor]] = {}
    tensors = {}
    for name, shard in places.items():
        if not isinstance(shard, str) or shard != Path(shard).name:
            raise _damaged(index, f"{shard!r} is not the name of a file beside it")
        if shard not in shards:
            shards[shard] = read_header(folder / shard)
        if name not in shards[shard]:
            raise _damaged(index, f"tensor {name} is not in {shard}")
        tensors[name] = shards[shard][name]
    return tensors


def _entry(file: Path, start: int, name: str, entry: Any) -> StoredTensor:
    if not isinstance(entry, dict):
        raise _damaged(file, f"the entry of tensor {name} is not an object")
    dtype, shape, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not (isinstance(dtype, str) and _naturals(shape) and _naturals(span) and len(span) == 2):
        raise _damaged(file, f"the entry of tensor {name} is invalid")
    begin, end = span
    expected = math.prod(shape) * ITEM_SIZES[dtype] if dtype in ITEM_SIZES else end - begin
    if end - begin != expected or end < begin:
        raise _damaged(
            file, f"tensor {name}, {dtype} {list(shape)}, has data offsets {begin} to {end}"
        )
    return StoredTensor(name, dtype, tuple(shape), file, start + begin, end - begin)


def _check_layout(file: Path, tensors: Sequence[StoredTensor], start: int, size: int) -> None:
    """Check that tensors cover the data exactly: no overlap, no hole, nothing beyond the end."""
    position = start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size)):
        if tensor.offset != position:
            problem = "overlaps another" if tensor.offset < position else "follows a hole"
            raise _damaged(file, f"tensor {tensor.name} {problem}")
        position += tensor.size
    if position > size:
        raise _damaged(file, f"it is truncated: {size} bytes of {position}")
    if position < size:
        raise _damaged(file, f"{size - position} bytes follow the last tensor")


def _json_object(file: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            raise ValueError("a name occurs twice in it")
        return content

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, f"its JSON cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise _damaged(file, "its JSON is not an object")
    return content


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)


def _damaged(file: Path, problem: str) -> WeightFileError:
    return WeightFileError(f"{file} is damaged: {problem}", "fetch or write the file again")
