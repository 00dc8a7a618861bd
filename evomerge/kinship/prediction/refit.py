"""A predicted child corrected by what was measured of it while it was merged.

When a child has been written, its weights, its parents' and the base's are still in the page cache,
so one pass over these alone is cheap: `measure(base, {parents, child}, new=[child])`. It gives, per
tensor, the products of the child's delta with [1, base, deltas of the parents, itself]. (Products
of deltas, not of weights: <c, a> of nearly equal weights would have to be good to 1e-9 for deltas
of 0.5 %.) With X the known rows of base and parents, the factors are refitted,

    a = (X X^T)^-1 X c,

the measured products are exact from then on, and those with all other models follow from a.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evomerge.kinship.errors import KinshipError, MissingPairsError
from evomerge.kinship.passes import Floats, Pass, TensorBlock
from evomerge.kinship.prediction.grow import REFITTED, Child
from evomerge.kinship.prediction.predict import Prediction, add
from evomerge.kinship.prediction.rules import ANY_DTYPE
from evomerge.kinship.prediction.survey import solve
from evomerge.kinship.statistics import Statistics


def correct(
    known: Statistics | Prediction, measured: Pass, child: str, *, dtype: str = ANY_DTYPE
) -> Prediction:
    """Put measured products of a child in the place of its predicted ones.

    Args:
        known: without the child, or with a prediction of it, which is forgotten then. Children
            that were predicted from it keep their predictions: predict them again.
        measured: a pass in which the child is new and its parents are.
        dtype: of the child's files, as mergekit names it, where no sample of it tells.

    Raises:
        KinshipError: the pass is of another base, or over other rows of a tensor.
        MissingPairsError: the pass does not hold the child's own products.
    """
    before = _without(known if isinstance(known, Prediction) else Prediction(known), child)
    statistics = before.statistics
    if measured.base != statistics.base:
        raise KinshipError("the child was measured over another base")
    others = [one for one in measured.models if one in statistics.models]
    if child not in measured.new:
        pairs = frozenset({(child, child)})
        raise MissingPairsError(f"the pass holds nothing new of {child}", pairs=pairs)
    products = _products(statistics, measured, child, others)
    rows = (1, *sorted(2 + statistics.models.index(one) for one in others))
    sample = known.samples.get(child) if isinstance(known, Prediction) else None
    written = sample.dtype if sample is not None else dtype
    factors = solve(statistics.gram, products[:, : 2 + len(statistics.models)], rows)
    grown = add(before, [Child(child, REFITTED, rows, factors, sample, written)])
    return replace(
        grown,
        statistics=replace(grown.statistics, gram=_put(grown.statistics.gram, products)),
        replicates=_put(grown.replicates, products) if grown.replicates.size else np.empty(0),
        exact=grown.exact | {(min(child, each), max(child, each)) for each in others},
    )


def _without(prediction: Prediction, child: str) -> Prediction:
    """The prediction as it was before the child."""
    if child not in prediction.models:
        return prediction
    if child not in prediction.margins:
        raise KinshipError(f"{child} was measured already")
    kept = [one for one in prediction.models if one != child]
    rows = [0, 1, *(2 + prediction.models.index(one) for one in kept)]
    replicates = prediction.replicates
    return replace(
        prediction,
        statistics=prediction.statistics.select(kept),
        margins={one: margin for one, margin in prediction.margins.items() if one != child},
        samples={one: sample for one, sample in prediction.samples.items() if one != child},
        exact=frozenset(pair for pair in prediction.exact if child not in pair),
        replicates=replicates[:, :, rows][..., rows] if replicates.size else replicates,
    )


def _products(statistics: Statistics, measured: Pass, child: str, others: list[str]) -> Floats:
    """The child's Gram row of every tensor, its own product last; NaN where not measured."""
    blocks = {block.name: block for block in measured.tensors}
    width = 2 + len(statistics.models)
    result = np.full((len(statistics.tensors), width + 1), np.nan)
    own = measured.models.index(child)
    columns = [0, 1, *(2 + measured.models.index(one) for one in others), 2 + own]
    places = [0, 1, *(2 + statistics.models.index(one) for one in others), width]
    for index, tensor in enumerate(statistics.tensors):
        block = blocks.get(tensor.name)
        if block is None or block.rows != tensor.rows:
            raise KinshipError(f"{tensor.name} of {child} was measured over other rows")
        result[index, places] = _row(block, own)[columns]
    if not np.isfinite(result[:, places]).all():
        raise KinshipError(f"{child} lacks a tensor that its parents have")
    return result


def _row(block: TensorBlock, own: int) -> Floats:
    if own not in block.new:
        raise KinshipError(f"the pass holds nothing new of {block.name}")
    row: Floats = block.gram[1 + block.new.index(own)]
    return row


def _put(gram: Floats, products: Floats) -> Floats:
    """The measured products in the last row and column."""
    result = gram.copy()
    result[..., -1, :] = np.where(np.isnan(products), gram[..., -1, :], products)
    result[..., :, -1] = result[..., -1, :]
    return result
