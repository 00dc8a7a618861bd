"""Which products a pass has to take of every tensor, given what earlier passes hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from evomerge.kinship.headers import StoredTensor
from evomerge.kinship.matching import SharedTensor
from evomerge.kinship.passes import Pass
from evomerge.kinship.union import Flags, Known, cover


@dataclass(frozen=True, slots=True)
class Task:
    """A tensor of which something is to be measured: known and new models that have it."""

    tensor: SharedTensor
    known: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def stored(self) -> tuple[StoredTensor, ...]:
        """The base's tensor, then those of the known, then those of the new models."""
        models = self.tensor.models
        return (self.tensor.base, *(models[model] for model in self.known + self.new))

    @property
    def width(self) -> int:
        """Bytes read per element of the base."""
        return sum(one.item_size for one in self.stored)


def plan(
    tensors: Sequence[SharedTensor],
    models: tuple[str, ...],
    fresh: Collection[str],
    known: Sequence[Pass],
) -> list[Task]:
    """For every tensor the models to measure: the fresh ones, and what else covers the missing.

    Missing is what the `known` passes lack of the pairs of `models`; with no known pass nothing
    else is measured than the fresh ones. A task without new models is nothing to do.
    """
    past = Known.of(known) if known else None
    tasks = []
    for tensor in tensors:
        present = [model for model in models if model in tensor.models]
        new = set(fresh)
        if past is not None:
            missing = _missing(past, tensor, present)
            for index, model in enumerate(present):
                if model in fresh:
                    missing[index, :] = missing[:, index] = False
            new.update(present[index] for index in cover(missing))
        tasks.append(
            Task(
                tensor,
                tuple(model for model in present if model not in new),
                tuple(model for model in present if model in new),
            )
        )
    return tasks


def _missing(past: Known, tensor: SharedTensor, present: Sequence[str]) -> Flags:
    """Which pairs of `present` the passes lack over the tensor's rows: bool, [present, present]."""
    missing: Flags = np.ones((len(present), len(present)), np.bool_)
    seen = [index for index, model in enumerate(present) if model in past.models]
    if tensor.name in past.tensors and seen:
        indices = [past.models.index(present[index]) for index in seen]
        gram = past.tensors[tensor.name].gram(indices, tensor.rows)
        missing[np.ix_(seen, seen)] = np.isnan(gram[2:, 2:])
    return missing
