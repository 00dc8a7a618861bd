"""Which linear combination of its inputs a merge is, tensor by tensor, before it is done.

As mergekit 0.1.5 does it, with the parameters of `settings`:

    linear           sum_i w_i x_i, divided by sum_i w_i where normalised (arXiv 2203.05482)
    task_arithmetic  b + lambda sum_i w_i (x_i - b), likewise (arXiv 2212.04089)
    slerp            s0 x_0 + s1 x_1 with theta the angle of the weights of the tensor, flattened:
                     s0 = sin((1 - t) theta) / sin(theta), s1 = sin(t theta) / sin(theta);
                     s0 = 1 - t, s1 = t where |cos(theta)| > 0.9995
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from evomerge.kinship.passes import Floats
from evomerge.kinship.prediction.settings import Rule, UnpredictableError, depths
from evomerge.kinship.statistics import Statistics

Flags: TypeAlias = npt.NDArray[np.bool_]

LINEAR = frozenset(("linear", "task_arithmetic", "slerp"))
"""The methods whose child is a linear combination of what it is made of."""

DOT_THRESHOLD = 0.9995
DOT_ERROR = 2e-4
ANY_DTYPE = "unknown"
_SMALLEST_SUM = 1e-8
_PRECISION = {"bfloat16": 8, "float16": 11, "float32": 24}


def coefficients(statistics: Statistics, rule: Rule, dtype: str = ANY_DTYPE) -> Floats:
    """The child's delta over the rows of the Gram matrix: float64, [tensors, 2 + models].

    Args:
        dtype: in which mergekit merges; task arithmetic rounds its weights to it.

    Raises:
        UnpredictableError: the method is not linear, lacks a parameter, or an input is not known.
    """
    if rule.method not in LINEAR:
        raise UnpredictableError(f"{rule.method} is no linear merge")
    rows = [row_of(statistics, model) for model in rule.inputs]
    place = depths([*(tensor.name for tensor in statistics.tensors), *statistics.absent])
    dots = _dots(statistics, rows) if rule.method == "slerp" else np.empty(0)
    result = np.zeros((len(statistics.tensors), 2 + len(statistics.models)))
    for index, tensor in enumerate(statistics.tensors):
        depth = place[tensor.name]
        if rule.method == "slerp":
            factors = _slerp(rule, float(dots[index]), tensor.name, depth, dtype)
        else:
            factors = _weights(rule, tensor.name, depth, dtype)
        for row, factor in zip(rows, factors, strict=True):
            result[index, row] += factor
        # The child is sum f (base + delta); its delta is that less the base.
        result[index, 1] = sum(factors) - 1
    return result


def row_of(statistics: Statistics, model: str) -> int:
    """The Gram row of a model's delta; the base's own is the row of the base, later overwritten."""
    if model == statistics.base:
        return 1
    if model not in statistics.models:
        raise UnpredictableError(f"nothing is known of {model}")
    return 2 + statistics.models.index(model)


def _weights(rule: Rule, tensor: str, depth: float, dtype: str) -> list[float]:
    """The factor of every input in a linear merge or in task arithmetic."""
    linear = rule.method == "linear"
    normalize = rule.setting("normalize", tensor, depth)
    moved = [index for index, model in enumerate(rule.inputs) if linear or model != rule.base]
    weights = {
        index: _rounded(rule.number("weight", tensor, depth, index), "" if linear else dtype)
        for index in moved
    }
    divisor = sum(weights.values()) if (linear if normalize is None else normalize) else 1.0
    if abs(divisor) < _SMALLEST_SUM:
        if linear:
            raise UnpredictableError("the weights of a linear merge sum to 0")
        divisor = 1.0
    if linear:
        return [weights[index] / divisor for index in moved]
    scale = rule.setting("lambda", tensor, depth)
    scale = (1.0 if scale is None else float(scale)) / divisor
    factors = [scale * weights.get(index, 0.0) for index in range(len(rule.inputs))]
    factors[rule.inputs.index(rule.base)] = 1.0 - sum(factors)
    return factors


def _rounded(weight: float, dtype: str) -> float:
    """The weight in the precision in which task vectors are multiplied by it."""
    if dtype not in _PRECISION or not weight:
        return weight
    fraction, exponent = np.frexp(weight)
    steps = 2.0 ** _PRECISION[dtype]
    return float(np.ldexp(np.round(fraction * steps) / steps, exponent))


def _slerp(rule: Rule, dot: float, tensor: str, depth: float, dtype: str) -> list[float]:
    """The factors s0 and s1 in the order of the inputs; s0 belongs to mergekit's base."""
    t = rule.number("t", tensor, depth)
    factors = [1 - t, t]
    if dtype != "float64":
        # In mergekit's precision: in bfloat16 the mean of two weights is often half-way between
        # two steps, and the last bit of a factor decides.
        short = np.float32(t)
        factors = [float(np.float32(1) - short), float(short)]
    if abs(dot) <= DOT_THRESHOLD:
        theta = np.arccos(dot)
        factors = [float(np.sin(part * theta) / np.sin(theta)) for part in factors]
    return factors if rule.inputs[0] == rule.base else factors[::-1]


def doubtful(statistics: Statistics, rule: Rule) -> Flags:
    """The tensors of which slerp may or may not take the straight line: bool, [tensors].

    mergekit's norms, summed in float32, put the cosine of a large tensor off by up to 1e-4; the
    side of the threshold decides which way a bfloat16 half-way between two steps is rounded.
    """
    if rule.method != "slerp":
        return np.zeros(len(statistics.tensors), np.bool_)
    dots = _dots(statistics, [row_of(statistics, model) for model in rule.inputs])
    near: Flags = np.abs(np.abs(dots) - DOT_THRESHOLD) < DOT_ERROR
    return near


def _dots(statistics: Statistics, rows: Sequence[int]) -> Floats:
    """The cosines of the weights of two inputs, tensor by tensor."""
    if len(rows) != 2:
        raise UnpredictableError("slerp takes two inputs")
    vectors = np.zeros((2, 2 + len(statistics.models)))
    vectors[:, 1] = 1
    vectors[[0, 1], list(rows)] = 1
    products = vectors @ statistics.gram @ vectors.T
    norms = np.sqrt(np.maximum(np.diagonal(products, axis1=1, axis2=2), 0))
    norms = np.where(norms > _SMALLEST_SUM, norms, 1.0)
    dots: Floats = np.clip(products[:, 0, 1] / (norms[:, 0] * norms[:, 1]), -1, 1)
    return dots
