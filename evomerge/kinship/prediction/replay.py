"""A merge replayed on samples: mergekit's own rule, on the sampled weights, in its dtypes.

TIES trims and DARE rescales by tensor, and a sampled tensor stands for the whole of it. DELLA
ranks magnitudes within a row and keeps with a probability linear in the rank; a run of neighbours
is given to it as a row, whose ranks are unbiased for those of the row that it lies in. So each
rule needs no more than the sample, up to the noise of sampling.

Imports torch and mergekit (LGPL; called, not copied).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mergekit import merge_methods
from mergekit.common import dtype_from_name
from mergekit.merge_methods.base import ParameterScope, TensorGroup

from evomerge.kinship.prediction.places import RUN
from evomerge.kinship.prediction.sample import DTYPES, Raw, Sample, SampledTensor
from evomerge.kinship.prediction.settings import Rule, UnpredictableError, depths
from evomerge.kinship.products import one_thread_each
from evomerge.kinship.tensors import DTYPES as TORCH_DTYPES

_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def replay(
    rule: Rule,
    samples: Mapping[str, Sample],
    *,
    dtype: str | None = None,
    out_dtype: str | None = None,
    seed: int | None = None,
    factors: Mapping[str, Sequence[float]] | None = None,
) -> Sample:
    """The sample of the child, from those of the inputs of `rule`.

    Args:
        dtype, out_dtype: as in mergekit's configuration.
        seed: of methods that draw at random; the draws are others than those of the merge.
        factors: of every tensor, the factor of every input, where they are known better than a
            sample tells (slerp: the angle of the whole tensors).

    Raises:
        UnpredictableError: there is no such method, or it refuses.
    """
    try:
        method = merge_methods.get("linear" if factors is not None else rule.method)
    except RuntimeError as error:
        raise UnpredictableError(str(error)) from error
    inputs = [samples[model] for model in rule.inputs]
    if len({sample.layout for sample in inputs}) > 1:
        raise UnpredictableError("the samples are of different coordinates")
    shared = [name for name in inputs[0].tensors if all(name in one.tensors for one in inputs)]
    place = depths(inputs[0].tensors)
    tensors = {}
    with one_thread_each(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        for name in shared:
            if factors is not None and name not in factors:
                continue
            held = [one.tensors[name] for one in inputs]
            if factors is None:
                parameters = _parameters(method, rule, name, place[name])
            else:
                weights = dict(zip(rule.inputs, factors[name], strict=True))
                parameters = {"weight": weights, "normalize": False}
            merged = _merge(method, rule, held, parameters, (dtype, out_dtype))
            tensors[name] = merged
    return Sample(*inputs[0].layout, tensors)


def _parameters(method: Any, rule: Rule, tensor: str, depth: float) -> dict[str, Any]:
    """The parameters that the recipe gives; mergekit adds its defaults, or misses them."""
    parameters: dict[str, Any] = {}
    for wanted in method.spec.parameters:
        if wanted.scope == ParameterScope.SHARED:
            value = rule.setting(wanted.name, tensor, depth)
        else:
            each = {
                model: rule.setting(wanted.name, tensor, depth, index)
                for index, model in enumerate(rule.inputs)
                if wanted.scope == ParameterScope.INPUT or model != rule.base
            }
            value = each if all(one is not None for one in each.values()) else None
        if value is not None:
            parameters[wanted.name] = value
    return parameters


def _merge(
    method: Any,
    rule: Rule,
    held: Sequence[SampledTensor],
    parameters: Mapping[str, Any],
    dtypes: tuple[str | None, str | None],
) -> SampledTensor:
    fewest = min(held, key=lambda one: len(one.weights))
    length = len(fewest.weights)
    shape = _shape(fewest, length)
    group = TensorGroup.from_tensors(
        [_tensor(one.weights[:length], one.dtype).reshape(shape) for one in held],
        ids=rule.inputs,
        base_index=rule.inputs.index(rule.base),
        name=fewest.name,
    )
    dtype, out_dtype = (dtype_from_name(name) for name in dtypes)
    try:
        (result,) = method([group], parameters=parameters, dtype=dtype, out_dtype=out_dtype)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UnpredictableError(f"{rule.method} refuses {fewest.name}: {error}") from error
    name = _NAMES[result.dtype]
    flat = result.reshape(-1).contiguous()
    weights = flat.view(torch.int16).numpy().view("<u2") if name == "BF16" else flat.numpy()
    return SampledTensor(fewest.name, fewest.rows, fewest.row_size, fewest.held, name, weights)


def _shape(tensor: SampledTensor, length: int) -> tuple[int, ...]:
    """Rows as the rule may look at: true ones where the tensor is whole, else runs."""
    if tensor.row_size == 1:
        return (length,)
    if length == tensor.held:
        return (-1, tensor.row_size)
    return (-1, RUN)


def _tensor(weights: Raw, dtype: str) -> torch.Tensor:
    # Copied, since the bytes of a stored sample cannot be written to, and torch warns of it.
    copied = np.array(weights, DTYPES[dtype])
    if dtype == "BF16":
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copied)
