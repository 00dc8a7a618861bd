"""The order of models in a kinship matrix by average-linkage clustering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evomerge.domain.kinship import KinshipMatrix, Metric

_FINEST = 150  # largest number of models with optimal leaf ordering, which is slow


@dataclass(frozen=True)
class Clustering:
    """Models in the order of a dendrogram's leaves.

    Attributes:
        order: names, similar models next to each other.
        links: the dendrogram: (x0, x1, x2, x3), (y0, y1, y2, y3) of every join; leaf i is at
            x = i, y is a distance (1 − kinship, or Euclidean). Empty for fewer than three models.
    """

    order: tuple[str, ...]
    links: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()


def cluster(models: Sequence[str], kinship: KinshipMatrix) -> Clustering:
    """Cluster `models`; a pair of unknown kinship gets the largest known distance."""
    if len(models) < 3:
        return Clustering(tuple(models))
    import numpy as np
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    values = np.array(kinship.table(models), np.float64)
    apart = np.maximum(0.0, values if kinship.metric is Metric.EUCLIDEAN else 1.0 - values)
    if np.isnan(apart).all():
        return Clustering(tuple(models))
    apart = np.where(np.isnan(apart), np.nanmax(apart), apart)
    np.fill_diagonal(apart, 0.0)
    joins = hierarchy.linkage(
        squareform(apart), method="average", optimal_ordering=len(models) <= _FINEST
    )
    drawn = hierarchy.dendrogram(joins, no_plot=True)
    # scipy places leaf i at 10 i + 5.
    links = tuple(
        (tuple((x - 5) / 10 for x in xs), tuple(float(y) for y in ys))
        for xs, ys in zip(drawn["icoord"], drawn["dcoord"], strict=True)
    )
    return Clustering(tuple(models[leaf] for leaf in drawn["leaves"]), links)
