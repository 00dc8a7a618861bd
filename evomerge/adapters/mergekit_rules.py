"""evomerge's own merge rules as merge methods of mergekit; importing this registers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mergekit.merge_methods import registry
from mergekit.merge_methods.base import (
    BasePolicy,
    FunctionalGroupMergeMethod,
    InputContract,
    PerNonBase,
    TensorGroup,
)
from mergekit.merge_methods.dtype import align_dtype
from mergekit.merge_methods.easy_define import merge_method

from evomerge.adapters.mergekit import SUM, WUDI_VECTORS
from evomerge.merge_rules.wudi import disentangled, merged_task_vector, sum_of

_OVER_A_BASE = InputContract(base=BasePolicy.REQUIRED, min_non_base=1)


@merge_method(  # type: ignore[untyped-decorator]
    name="wudi",
    pretty_name="WUDI",
    reference_url="https://arxiv.org/abs/2503.08099",
    contract=_OVER_A_BASE,
)
def wudi(group: TensorGroup, weight: PerNonBase[float], epsilon: float = 0.3) -> torch.Tensor:
    """The base plus the merged task vector of `merge_rules.wudi`, in the dtype of the base."""
    start, deltas = _task_vectors(group)
    merged = merged_task_vector(deltas, weight.values_for(group.non_base), epsilon)
    return (start + merged).to(group.base.tensor.dtype)


class _ForEveryParent(FunctionalGroupMergeMethod):  # type: ignore[misc]
    """A method that returns tensors of many models, stacked; `mergekit_child` splits them."""

    def _execute(
        self, groups: Sequence[TensorGroup], parameters: Sequence[Any], *_: Any, **__: Any
    ) -> tuple[torch.Tensor, ...]:
        each = zip(groups, parameters, strict=True)
        return tuple(self.merge_group(align_dtype(group), **own) for group, own in each)


@merge_method(name=WUDI_VECTORS, contract=_OVER_A_BASE)  # type: ignore[untyped-decorator]
def _wudi_vectors(
    group: TensorGroup, row: PerNonBase[int], rows: int, base_row: bool, epsilon: float = 0.3
) -> torch.Tensor:
    """The disentangled task vectors, in the dtype of the base.

    Args:
        row: of each parent; a parent that lacks the tensor leaves zeros there.
        rows: the number of all rows.
        base_row: whether the base itself is in the last row.
    """
    start, deltas = _task_vectors(group)
    stacked = start.new_zeros((rows, *start.shape))
    stacked[row.values_for(group.non_base)] = disentangled(deltas, epsilon)
    if base_row:
        stacked[-1] = start
    return stacked.to(group.base.tensor.dtype)


@merge_method(name=SUM, contract=_OVER_A_BASE)  # type: ignore[untyped-decorator]
def sum_of_task_vectors(group: TensorGroup, weight: PerNonBase[float]) -> torch.Tensor:
    """The base plus the weighted sum of the other inputs, which are task vectors themselves."""
    base, vectors = group.base.tensor, group.non_base
    summed = sum_of([each.tensor.float() for each in vectors], weight.values_for(vectors))
    return (base.float() + summed).to(base.dtype)


def _task_vectors(group: TensorGroup) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The base in float32, and what each parent adds to it."""
    start = group.base.tensor.to(torch.float32)
    return start, [parent.tensor.to(torch.float32) - start for parent in group.non_base]


for method in (
    wudi,
    _ForEveryParent(_wudi_vectors.spec, _wudi_vectors.implementation),
    sum_of_task_vectors,
):
    registry.register(method)
