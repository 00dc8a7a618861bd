"""The union of measuring passes: which products of a set of models are known or missing.

A tensor is compared over the rows that the base and every model of the set have in common. A
block is used only if it was taken over exactly these rows. Passes that hold the same product agree
on it, except those of format 1, which are used only where no other pass has the product.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from evomerge.kinship.errors import KinshipError, MissingPairsError, PassFormatError
from evomerge.kinship.passes import Floats, Pass, Shape, TensorBlock

Pairs: TypeAlias = frozenset[tuple[str, str]]
Flags: TypeAlias = npt.NDArray[np.bool_]
Places: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class KnownTensor:
    """The blocks of one tensor in all passes, over all their models, in the order of `Known`.

    `model_rows` is -1 for a model that no pass with this tensor contains.
    """

    name: str
    row_size: int
    base_rows: int
    model_rows: tuple[int, ...]
    blocks: tuple[tuple[Places, TensorBlock], ...]

    def gram(self, indices: Sequence[int], rows: int) -> Floats:
        """The Gram matrix over [1, deltas of the models at `indices`], NaN where unknown.

        Args:
            rows: number of compared rows; only blocks over exactly these are used.
        """
        gram = np.full((1 + len(indices),) * 2, np.nan)
        gram[0, 0] = rows * self.row_size
        at = np.full(len(self.model_rows), -1)
        at[list(indices)] = 1 + np.arange(len(indices))
        for places, block in self.blocks:
            columns = np.concatenate([[0], at[places]])
            wanted = columns[1:][list(block.new)]
            if block.rows == rows and (wanted >= 0).any():
                found = block.gram[wanted >= 0][:, columns >= 0]
                upper = np.ix_(wanted[wanted >= 0], columns[columns >= 0])
                gram[upper] = np.where(np.isnan(found), gram[upper], found)
                gram.T[upper] = np.where(np.isnan(found), gram.T[upper], found)
        return gram


@dataclass(frozen=True, slots=True)
class Known:
    """The content of several passes over one base, by tensor name."""

    base: str
    models: tuple[str, ...]
    tensors: Mapping[str, KnownTensor]

    @classmethod
    def of(cls, passes: Sequence[Pass]) -> Known:
        """Unite passes in any order.

        Raises:
            KinshipError: there is no pass, or they have different bases.
            PassFormatError: two passes contradict each other about one id.
        """
        if len({one.base for one in passes}) != 1:
            raise KinshipError("statistics can be united only over one base")
        models = tuple(sorted({model for one in passes for model in one.models}))
        place = {model: index for index, model in enumerate(models)}
        found: dict[str, list[tuple[Places, TensorBlock]]] = {}
        for one in sorted(passes, key=lambda one: one.format):
            places = np.array([place[model] for model in one.models], np.intp)
            for block in one.tensors:
                found.setdefault(block.name, []).append((places, block))
        tensors = {name: _gather(blocks, len(models)) for name, blocks in found.items()}
        return cls(passes[0].base, models, tensors)


def pairs_of(models: Iterable[str], pairs: Iterable[tuple[str, str]] | None = None) -> Pairs:
    """`pairs`, or all pairs of `models`, sorted within, and each of their models with itself."""
    wanted = combinations(sorted(models), 2) if pairs is None else pairs
    chosen = {(min(a, b), max(a, b)) for a, b in wanted}
    alone = models if pairs is None else {model for pair in chosen for model in pair}
    return frozenset(chosen | {(model, model) for model in alone})


def alike(
    shapes: Mapping[str, Shape], pairs: Iterable[tuple[str, str]]
) -> list[list[tuple[str, str]]]:
    """Group pairs whose models have the same two shapes.

    All models of a group have as many rows in common as each pair of it, so that the result for a
    pair does not depend on the others.
    """
    groups: dict[frozenset[Shape], list[tuple[str, str]]] = {}
    for a, b in pairs:
        groups.setdefault(frozenset((shapes[a], shapes[b])), []).append((a, b))
    return list(groups.values())


def missing_pairs(
    passes: Sequence[Pass], models: Iterable[str], pairs: Iterable[tuple[str, str]] | None = None
) -> Pairs:
    """The pairs (in the form of `pairs_of`) that are still to be measured.

    A pair is missing if any tensor lacks it over the rows that the base and all `models` have in
    common. If the result is empty, `Statistics.merge` will succeed.
    """
    models = sorted(set(models))
    wanted = pairs_of(models, pairs)
    if not passes:
        return wanted
    known = Known.of(passes)
    missing = unseen_pairs(known.models, wanted)
    seen = [model for model in models if model in known.models]
    indices = [known.models.index(model) for model in seen]
    for tensor in known.tensors.values():
        if indices and not lacking_models(tensor, indices):
            gram = tensor.gram(indices, common_rows(tensor, indices))
            missing |= wanted & unknown_pairs(seen, gram)
    return missing


def unseen_pairs(seen: Collection[str], pairs: Pairs) -> Pairs:
    """The pairs with a model that is not among `seen`."""
    return frozenset(pair for pair in pairs if not set(pair) <= set(seen))


def unknown_pairs(models: Sequence[str], gram: Floats) -> Pairs:
    """The pairs of `models` that are NaN in a Gram matrix over [1, deltas]."""
    pairs = ((models[a], models[b]) for a, b in np.argwhere(np.isnan(gram[1:, 1:])))
    return frozenset((min(a, b), max(a, b)) for a, b in pairs)


def lacking_models(tensor: KnownTensor, indices: Sequence[int]) -> list[int]:
    """Those of `indices` whose models lack the tensor."""
    return [index for index in indices if tensor.model_rows[index] == 0]


def common_rows(tensor: KnownTensor, indices: Sequence[int]) -> int:
    """The rows that the base and the models at `indices` have in common."""
    rows = [tensor.model_rows[index] for index in indices]
    return min([tensor.base_rows, *(count for count in rows if count > 0)])


def cover(missing: Flags) -> list[int]:
    """A small set of models, ascending, that touches every missing pair of a symmetric matrix."""
    left = missing.copy()
    chosen = []
    while left.any():
        # Ties go to the later model: new models are unmeasured.
        best = len(left) - 1 - int(np.argmax(left.sum(axis=1)[::-1]))
        chosen.append(best)
        left[best, :] = left[:, best] = False
    return sorted(chosen)


def refuse_missing(pairs: Pairs) -> None:
    """Raise MissingPairsError if there are any pairs."""
    if pairs:
        shown = ", ".join(f"{a} with {b}" for a, b in sorted(pairs)[:3])
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        raise MissingPairsError(
            f"kinship was not measured yet: {shown}{more}",
            "measure these models against the known passes first",
            pairs=pairs,
        )


def _gather(blocks: Sequence[tuple[Places, TensorBlock]], models: int) -> KnownTensor:
    first = blocks[0][1]
    rows = np.full(models, -1)
    for places, block in blocks:
        stated = np.array(block.model_rows)
        contradicted = (rows[places] != -1) & (rows[places] != stated)
        if contradicted.any() or (block.base_rows, block.row_size) != (
            first.base_rows,
            first.row_size,
        ):
            raise PassFormatError(
                f"two passes contradict each other about the shape of {block.name}",
                "an id must identify one set of weights: measure again",
            )
        rows[places] = stated
    model_rows = tuple(int(count) for count in rows)
    return KnownTensor(first.name, first.row_size, first.base_rows, model_rows, tuple(blocks))
