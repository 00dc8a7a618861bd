"""evomerge's own merge rules as merge methods of mergekit; importing this registers them."""

from __future__ import annotations

import torch
from mergekit.merge_methods import registry
from mergekit.merge_methods.base import BasePolicy, InputContract, PerNonBase, TensorGroup
from mergekit.merge_methods.easy_define import merge_method

from evomerge.merge_rules.wudi import merged_task_vector


@merge_method(  # type: ignore[untyped-decorator]
    name="wudi",
    pretty_name="WUDI",
    reference_url="https://arxiv.org/abs/2503.08099",
    contract=InputContract(base=BasePolicy.REQUIRED, min_non_base=1),
)
def wudi(group: TensorGroup, weight: PerNonBase[float], epsilon: float = 0.3) -> torch.Tensor:
    """The base plus the merged task vector of `merge_rules.wudi`, in the dtype of the base."""
    (base,) = [entry.tensor for entry in group.entries if entry.is_base]
    parents = group.non_base
    if not base.is_floating_point():
        return base
    start = base.to(torch.float32)
    deltas = [parent.tensor.to(torch.float32) - start for parent in parents]
    merged = merged_task_vector(deltas, weight.values_for(parents), epsilon)
    return (start + merged).to(base.dtype)


registry.register(wudi)
