"""The products that a pass has to compute for every tensor, given earlier passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evomerge.kinship.headers import StoredTensor
from evomerge.kinship.matching import SharedTensor
from evomerge.kinship.passes import Pass
from evomerge.kinship.union import Flags, Known, Pairs, cover


@dataclass(frozen=True, slots=True)
class TensorTask:
    """A tensor to measure, with the known and new models that have it."""

    tensor: SharedTensor
    known: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def stored(self) -> tuple[StoredTensor, ...]:
        """The tensors of the base, the known models and the new models, in this order."""
        models = self.tensor.models
        return (self.tensor.base, *(models[model] for model in self.known + self.new))

    @property
    def width(self) -> int:
        """Bytes read per element of the base's tensor."""
        return sum(one.item_size for one in self.stored)


def schedule(
    tensors: Sequence[SharedTensor],
    models: tuple[str, ...],
    pairs: Pairs,
    known: Sequence[Pass],
) -> list[TensorTask]:
    """For every tensor, the new models to measure and the known ones to multiply them with.

    Together they supply the `pairs` that the `known` passes lack. A task without new models can be
    skipped.
    """
    past = Known.of(known) if known else None
    tasks = []
    for tensor in tensors:
        present = [model for model in models if model in tensor.models]
        missing = _missing(past, tensor, present, pairs)
        new = cover(missing)
        beside = [index for index in np.flatnonzero(missing.any(axis=0)) if index not in new]
        tasks.append(
            TensorTask(
                tensor,
                tuple(present[index] for index in beside),
                tuple(present[index] for index in new),
            )
        )
    return tasks


def _missing(
    past: Known | None, tensor: SharedTensor, present: Sequence[str], pairs: Pairs
) -> Flags:
    """Which of `pairs` the passes lack over the tensor's rows: bool, [present, present]."""
    place = {model: index for index, model in enumerate(present)}
    missing: Flags = np.zeros((len(present), len(present)), np.bool_)
    for a, b in pairs:
        if a in place and b in place:
            missing[place[a], place[b]] = missing[place[b], place[a]] = True
    seen = [] if past is None else [model for model in present if model in past.models]
    if past is not None and seen and tensor.name in past.tensors:
        indices = [past.models.index(model) for model in seen]
        unknown = np.isnan(past.tensors[tensor.name].gram(indices, tensor.rows)[1:, 1:])
        missing[np.ix_(*2 * [[place[model] for model in seen]])] &= unknown
    return missing
