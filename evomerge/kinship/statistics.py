"""The sufficient statistics of kinship, and every value that derives from them.

For every tensor: the number of elements and the Gram matrix, float64, over the rows
[1, delta_1 .. delta_N]. Both are additive over tensors, so any selection of tensors is a
`Statistics`; `evomerge.kinship.metrics` has the equations. Sums are rounded once (`math.fsum`), so
that no value depends on the other models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TypeAlias

import numpy as np

from evomerge.kinship.errors import KinshipError
from evomerge.kinship.grouping import natural
from evomerge.kinship.metrics import similarity
from evomerge.kinship.passes import Floats, Pass
from evomerge.kinship.union import (
    Known,
    common_rows,
    lacking_models,
    pairs_of,
    refuse_missing,
    unknown_pairs,
    unseen_pairs,
)

Matrix: TypeAlias = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class TensorSize:
    """The compared part of a tensor: `rows` of the base's `base_rows`, `count` elements."""

    name: str
    count: int
    rows: int
    base_rows: int


@dataclass(frozen=True, eq=False)
class Statistics:
    """The statistics of models against one base, in the order of `models`.

    Attributes:
        base: the id of the base.
        models: the ids of the models.
        tensors: the compared tensors, in natural order of their names.
        gram: float64, [tensors, 1 + models, 1 + models], read-only; rows [1, deltas]. NaN for a
            pair that was neither requested nor measured.
        absent: tensors of the base that are not compared, with the models that lack them or have
            no floats there.
        extra, skipped, renamed: see `matching.Matching`.
    """

    base: str
    models: tuple[str, ...]
    tensors: tuple[TensorSize, ...]
    gram: Floats = field(repr=False)
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        width = 1 + len(self.models)
        if self.gram.shape != (len(self.tensors), width, width):
            raise KinshipError(f"a Gram array of shape {self.gram.shape} does not fit")
        if len(set(self.models)) < len(self.models):
            raise KinshipError("the models of statistics must be distinct")
        self.gram.setflags(write=False)

    @classmethod
    def merge(
        cls,
        passes: Sequence[Pass],
        models: Sequence[str] | None = None,
        pairs: Iterable[tuple[str, str]] | None = None,
    ) -> Statistics:
        """Unite passes, in any order, into the statistics of `models` (default: all, sorted).

        Args:
            pairs: pairs of `models` that must be known; None for all.

        Raises:
            MissingPairsError: a pair is not in the passes; its `pairs` name all of them.
            PassFormatError: two passes contradict each other.
        """
        known = Known.of(passes)
        models = known.models if models is None else tuple(models)
        wanted = pairs_of(models, pairs)
        missing = unseen_pairs(known.models, wanted)
        refuse_missing(missing)
        indices = [known.models.index(model) for model in models]
        sizes, grams, absent = [], [], {}
        for name, tensor in sorted(known.tensors.items(), key=lambda item: natural(item[0])):
            if lacking := lacking_models(tensor, indices):
                absent[name] = tuple(known.models[index] for index in lacking)
                continue
            rows = common_rows(tensor, indices)
            sizes.append(TensorSize(name, rows * tensor.row_size, rows, tensor.base_rows))
            grams.append(tensor.gram(indices, rows))
            missing |= wanted & unknown_pairs(models, grams[-1])
        refuse_missing(missing)
        width = 1 + len(models)
        chosen = {known.base, *models}
        return cls(
            known.base,
            models,
            tuple(sizes),
            np.array(grams, np.float64).reshape(len(sizes), width, width),
            absent,
            {key: item for one in passes for key, item in one.extra.items() if key in chosen},
            {key: item for one in passes for key, item in one.skipped.items() if key in chosen},
            {key: item for one in passes for key, item in one.renamed.items() if key in chosen},
        )

    @property
    def count(self) -> int:
        """Compared elements, over all tensors."""
        return sum(tensor.count for tensor in self.tensors)

    @property
    def cut(self) -> tuple[TensorSize, ...]:
        """The tensors whose last rows were left out because a model has fewer than the base."""
        return tuple(tensor for tensor in self.tensors if tensor.rows < tensor.base_rows)

    @property
    def equal_to_base(self) -> tuple[str, ...]:
        """The models whose delta is zero: their pcc and cosine are undefined."""
        squares = np.diagonal(self.total)[1:]
        return tuple(m for m, square in zip(self.models, squares, strict=True) if square == 0)

    @cached_property
    def total(self) -> Floats:
        """The Gram matrix over all tensors."""
        return _summed(self.gram)

    def pair(self, metric: str, a: str, b: str) -> float | None:
        """The kinship of two models: one entry of `matrix`."""
        return self.select((a, b) if a != b else (a,)).matrix(metric)[0][-1]

    def matrix(self, metric: str) -> Matrix:
        """The kinship of all models by one of `metrics.METRICS`, [models][models], symmetric.

        None where undefined: a delta that is zero or (pcc) constant, or no tensor at all.
        """
        return tuple(
            tuple(None if np.isnan(value) else float(value) for value in row)
            for row in similarity(metric, self.total)
        )

    def select(self, models: Sequence[str]) -> Statistics:
        """The statistics of some of the models, in this order, over the same elements.

        Raises:
            KinshipError: a model is unknown.
        """
        unknown = [model for model in models if model not in self.models]
        if unknown:
            raise KinshipError(f"there are no statistics of {', '.join(unknown)}")
        rows = [0, *(1 + self.models.index(model) for model in models)]
        return replace(self, models=tuple(models), gram=self.gram[:, rows][:, :, rows])

    def named(self, pattern: str) -> frozenset[str]:
        """The tensors that match a case-sensitive shell pattern over the base's full name.

        Examples: `*norm*`, `lm_head.*`, `model.layers.[0-3].*`.
        """
        return frozenset(each.name for each in self.tensors if fnmatchcase(each.name, pattern))

    def without(self, *patterns: str) -> Statistics:
        """The statistics without the tensors that match a pattern, see `named`."""
        out = frozenset[str]().union(*(self.named(pattern) for pattern in patterns))
        return self._of(i for i, tensor in enumerate(self.tensors) if tensor.name not in out)

    def split_by(self, key: Callable[[str], str | None]) -> dict[str, Statistics]:
        """The statistics of each group of tensors; `key` maps a name to its group, None to none."""
        groups: dict[str, list[int]] = {}
        for index, tensor in enumerate(self.tensors):
            group = key(tensor.name)
            if group is not None:
                groups.setdefault(group, []).append(index)
        return {group: self._of(indices) for group, indices in groups.items()}

    def _of(self, indices: Iterable[int]) -> Statistics:
        kept = list(indices)
        tensors = tuple(self.tensors[index] for index in kept)
        return replace(self, tensors=tensors, gram=self.gram[kept])


def _summed(parts: Floats) -> Floats:
    """The sums over the first axis, rounded once."""
    columns = parts.reshape(len(parts), math.prod(parts.shape[1:])).T
    return np.array([math.fsum(column) for column in columns]).reshape(parts.shape[1:])
