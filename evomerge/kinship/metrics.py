"""Similarities of weight deltas, from their Gram matrix G over [1, delta_1 .. delta_N].

With n = G[1,1] elements, sums s_a = G[1,a] and products G[a,b] of the deltas of models a and b
(the metrics of arXiv 2410.12613, section 3):

    pcc(a, b)       = (G[a,b] - s_a s_b / n) / sqrt((G[a,a] - s_a^2 / n) (G[b,b] - s_b^2 / n))
    cosine(a, b)    = G[a,b] / sqrt(G[a,a] G[b,b])
    euclidean(a, b) = sqrt(G[a,a] + G[b,b] - 2 G[a,b])
"""

from __future__ import annotations

import numpy as np

from evomerge.kinship.errors import KinshipError
from evomerge.kinship.passes import Floats

METRICS = ("pcc", "cosine", "euclidean")

# Summed in float32 blocks, a constant delta has a variance of up to 2e-6 of its mean square, since
# all blocks have the same rounding error; variances below this share count as zero.
VARIANCE_FLOOR = 1e-5


def similarity(metric: str, gram: Floats) -> Floats:
    """The similarities of all deltas of one or more Gram matrices, by the equations of this module.

    Args:
        gram: float64, [.., 1 + models, 1 + models].

    Returns:
        float64, [.., models, models], NaN where undefined.
    """
    count, sums, products = gram[..., :1, :1], gram[..., 0, 1:], gram[..., 1:, 1:]
    if metric == "euclidean":
        squares = np.diagonal(products, axis1=-2, axis2=-1)
        apart = squares[..., :, None] + squares[..., None, :] - 2 * products
        return np.where(count > 0, np.sqrt(np.maximum(apart, 0.0)), np.nan)
    if metric == "pcc":
        squares = np.diagonal(products, axis1=-2, axis2=-1)
        outer = sums[..., :, None] * sums[..., None, :]
        products = products - outer / np.maximum(count, 1.0)
        floor = VARIANCE_FLOOR * squares
    elif metric in METRICS:
        floor = np.zeros(sums.shape)
    else:
        raise KinshipError(f"unknown kinship metric {metric!r}", f"use {', '.join(METRICS)}")
    variances = np.diagonal(products, axis1=-2, axis2=-1)
    roots = np.sqrt(np.where(variances > floor, variances, np.nan))
    values: Floats = np.clip(products / (roots[..., :, None] * roots[..., None, :]), -1.0, 1.0)
    own = np.arange(values.shape[-1])
    values[..., own, own] = np.where(np.isnan(values[..., own, own]), np.nan, 1.0)
    return values
