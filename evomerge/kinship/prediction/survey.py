"""From products over a sample to products over the whole: a difference estimator with its error.

Let G be the exact Gram matrix of what is known, S the mean products per element over a sample of
the n elements, S' the same with the children in it, and M = [I; A], where A are the factors by
which the children are regressed on their inputs, within the sample. Then

    G' = M G M^T + n (S' - M S M^T)

is the linear prediction plus the sampled remainder: what rounding, trimming and dropping add.
Any A gives an unbiased G'; the regressed one gives small errors (generalised regression estimator:
Särndal, Swensson, Wretman, Model Assisted Survey Sampling, 1992, chapter 6).

The error is told by deleting a group of the sample at a time (jackknife: Wolter, Introduction to
Variance Estimation, 2007, chapter 4): every array here has a first axis, of which entry 0 is the
estimate and the others are those without one of the groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evomerge.kinship.passes import Floats
from evomerge.kinship.prediction.places import RUN, Indices
from evomerge.kinship.prediction.sample import Sample, as_floats
from evomerge.kinship.statistics import TensorSize

GROUPS = 10
_RANK = 1e-10


def mean_products(
    tensors: Sequence[TensorSize],
    base: Sample,
    models: Sequence[Sample | None],
    *,
    random: bool,
) -> Floats:
    """Mean products per element: [1 + GROUPS, tensors, 2 + models, 2 + models].

    Args:
        models: None for a model without a sample: its products are zero, so that nothing is added
            to the linear prediction for it.
        random: a model comes of a merge that draws at random. Its true draws are others, so that
            even a whole tensor does not tell them.
    """
    width = 2 + len(models)
    result = np.zeros((1 + GROUPS, len(tensors), width, width))
    for index, tensor in enumerate(tensors):
        rows = _rows(tensor, base, models)
        length = rows.shape[1]
        parts = [rows[:, chosen] for chosen in _groups(length)]
        sums = np.array([part @ part.T for part in parts])
        lengths = np.array([part.shape[1] for part in parts])
        mean = sums.sum(axis=0) / length
        others = (length * mean - sums) / np.maximum(length - lengths, 1)[:, None, None]
        others = np.where((lengths < length)[:, None, None], others, mean)
        share = length / tensor.count
        spread = 1 + share if random else max(1 - share, 0.0)
        result[0, index] = mean
        result[1:, index] = mean + np.sqrt(spread) * (others - mean)
    return result


def _rows(tensor: TensorSize, base: Sample, models: Sequence[Sample | None]) -> Floats:
    """[1, base, deltas] at the sampled places within the rows that count."""
    origin = base.tensors[tensor.name]
    # The places ascend, so that those within the common rows come first in every sample.
    held = [base, *(one for one in models if one is not None)]
    length = min(one.length(tensor.name, tensor.count) for one in held)
    rows = np.zeros((2 + len(models), length))
    rows[0] = 1
    rows[1] = as_floats(origin.weights[:length], origin.dtype)
    for row, model in zip(rows[2:], models, strict=True):
        if model is not None:
            one = model.tensors[tensor.name]
            row[:] = as_floats(one.weights[:length], one.dtype) - rows[1]
    return rows


def _groups(length: int) -> list[np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    runs: Indices = np.arange(length) // RUN % GROUPS
    return [runs == group for group in range(GROUPS)]


def regress(means: Floats, rows: Sequence[int], child: int) -> Floats:
    """The factors of the child on some rows, by least squares: [.., width], zero elsewhere."""
    return solve(means, means[..., child, :], rows)


def solve(gram: Floats, products: Floats, rows: Sequence[int]) -> Floats:
    """The factors on `rows` of the vector that has these products with all rows: [.., width]."""
    kept = list(rows)
    inner, outer = gram[..., kept, :][..., kept], products[..., kept]
    scale = np.sqrt(np.maximum(np.diagonal(inner, axis1=-2, axis2=-1), 0))
    scale = np.where(scale > 0, scale, 1.0)
    # Of rows that are alike (a model twice, a delta of zero) the smallest factors are taken.
    normal = inner / (scale[..., :, None] * scale[..., None, :])
    inverse = np.linalg.pinv(normal, rcond=_RANK, hermitian=True)
    factors = np.zeros(gram.shape[:-1])
    factors[..., kept] = np.einsum("...ij,...j->...i", inverse, outer / scale) / scale
    return factors


def extend(gram: Floats, factors: Floats) -> Floats:
    """The Gram matrix with children that are linear: M G M^T, M = [I; factors].

    Args:
        gram: [.., width, width].
        factors: [.., children, width].
    """
    cross = factors @ gram
    corner = cross @ np.swapaxes(factors, -1, -2)
    top = np.concatenate([gram, np.swapaxes(cross, -1, -2)], axis=-1)
    return np.concatenate([top, np.concatenate([cross, corner], axis=-1)], axis=-2)
