"""The results of one measuring pass, and their file format.

For every tensor a pass holds the Gram rows of its new models: the inner products of their deltas
with the rows [1, delta of every model of the pass]. Products of known models with each other are
not taken again, so the files of several passes together hold each pair (`evomerge.kinship.union`).

The file is a numpy .npz archive, loadable without pickle: `header`, UTF-8 JSON as bytes, and
`gram`, float64, the Gram rows of all tensors flattened (C order) one after another. Format 1 also
has products with the base's weights, and sums whose last digits depend on the other models of the
pass (2e-8 of a product).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from evomerge.kinship.errors import PassFormatError

FORMAT = 2

Floats: TypeAlias = npt.NDArray[np.float64]
Shape: TypeAlias = tuple[tuple[str, int], ...]
"""The rows that a model has of every tensor of the base, by name, at most the base's.

0 if the model lacks the tensor.
"""


@dataclass(frozen=True, eq=False)
class TensorBlock:
    """The Gram rows of one tensor over its first `rows` rows of `row_size` elements.

    Attributes:
        base_rows: rows of the base's tensor.
        model_rows: rows of each model's, in the order of the pass; 0 if it lacks the tensor.
        new: indices of the measured models, ascending; empty if nothing was measured.
        gram: float64, [len(new), 1 + models]: row i is model `new[i]`; column 0 is the constant
            1, then the models of the pass. NaN if a model lacks the tensor or was not measured.
    """

    name: str
    row_size: int
    base_rows: int
    rows: int
    model_rows: tuple[int, ...]
    new: tuple[int, ...]
    gram: Floats = field(repr=False)

    def __post_init__(self) -> None:
        present = [rows for rows in self.model_rows if rows]
        if self.gram.shape != (len(self.new), 1 + len(self.model_rows)):
            raise PassFormatError(f"tensor {self.name}: a Gram block of shape {self.gram.shape}")
        if self.row_size < 1 or self.rows != min([self.base_rows, *present]) or self.rows < 1:
            raise PassFormatError(f"tensor {self.name}: impossible numbers of rows")
        if any(index not in range(len(self.model_rows)) for index in self.new):
            raise PassFormatError(f"tensor {self.name}: models that are not in the pass")
        self.gram.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Pass:
    """One measuring pass: the base's id, the models' ids, and a block for every tensor.

    Attributes:
        extra, skipped, renamed: see `matching.Matching`.
        format: that of the file that the pass was read from.
    """

    base: str
    models: tuple[str, ...]
    tensors: tuple[TensorBlock, ...]
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not self.models or len(set(self.models)) < len(self.models) or self.base in self.models:
            raise PassFormatError("a pass needs distinct models, none of them the base")
        if any(len(block.model_rows) != len(self.models) for block in self.tensors):
            raise PassFormatError("a tensor has other models than its pass")
        if len({block.name for block in self.tensors}) < len(self.tensors):
            raise PassFormatError("a tensor occurs twice in a pass")

    @property
    def new(self) -> tuple[str, ...]:
        """The models with new measurements, in the order of the pass."""
        indices = {index for block in self.tensors for index in block.new}
        return tuple(model for index, model in enumerate(self.models) if index in indices)

    def shape(self, model: str) -> Shape:
        """The rows of one of `models`."""
        place = self.models.index(model)
        return tuple(
            sorted((one.name, min(one.base_rows, one.model_rows[place])) for one in self.tensors)
        )

    def to_bytes(self) -> bytes:
        """The pass as file content; equal passes give equal bytes."""
        header = {
            "format": FORMAT,
            "base": self.base,
            "models": self.models,
            "tensors": [
                [block.name, block.row_size, block.base_rows, block.model_rows, block.new]
                for block in self.tensors
            ],
            "extra": self.extra,
            "skipped": self.skipped,
            "renamed": self.renamed,
        }
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
        gram = np.concatenate([np.empty(0), *(block.gram.ravel() for block in self.tensors)])
        buffer = io.BytesIO()
        np.savez(buffer, header=np.frombuffer(text, np.uint8), gram=gram.astype("<f8"))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Pass:
        """The inverse of `to_bytes`.

        Raises:
            PassFormatError: the bytes are damaged or of an unknown format.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                header = json.loads(archive["header"].tobytes())
                gram = archive["gram"]
            if header["format"] not in {1, FORMAT}:
                raise PassFormatError(
                    f"kinship statistics of unknown format {header['format']}",
                    "use a newer evomerge, or measure again",
                )
            if gram.dtype != np.float64 or gram.ndim != 1:
                raise PassFormatError("damaged kinship statistics: Gram rows are not float64")
            return cls(
                base=_text(header["base"]),
                models=tuple(_text(model) for model in header["models"]),
                tensors=_blocks(header, gram),
                extra={model: tuple(names) for model, names in header["extra"].items()},
                skipped={source: dict(names) for source, names in header["skipped"].items()},
                renamed={model: dict(names) for model, names in header["renamed"].items()},
                format=header["format"],
            )
        except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError,
                zipfile.BadZipFile) as error:  # fmt: skip
            raise PassFormatError(
                f"damaged kinship statistics: {error}", "measure again"
            ) from error


def _blocks(header: Mapping[str, Any], gram: Floats) -> tuple[TensorBlock, ...]:
    blocks = []
    position = 0
    old = header["format"] == 1  # the first row and the second column are the base's
    width = 1 + old + len(header["models"])
    for name, row_size, base_rows, model_rows, new in header["tensors"]:
        height = len(new) + (old and len(new) > 0)
        part = gram[position : position + height * width].reshape(height, width)
        position += height * width
        if old:
            part = np.delete(part[1:], 1, axis=1)
        rows = min([base_rows, *(rows for rows in model_rows if rows)])
        blocks.append(
            TensorBlock(_text(name), row_size, base_rows, rows, tuple(model_rows), tuple(new), part)
        )
    if position != gram.size:
        raise PassFormatError("damaged kinship statistics: Gram rows without a tensor")
    return tuple(blocks)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a name")
    return value
