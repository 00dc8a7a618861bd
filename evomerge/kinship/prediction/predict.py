"""Kinship of children that are not merged yet, from the statistics and samples of their parents.

    prediction = predict(statistics, recipes, samples)
    prediction.pair("pcc", recipes[0].id, "a")      # Estimate(value, error, predicted=True)

Linear merges (linear, task_arithmetic, slerp) follow from the Gram matrix alone, from which all
metrics of arXiv 2410.12613, section 3, derive: with the children's factors A it becomes
[I; A] G [I; A]^T. With samples the rounding of the child is replayed too, and every other method
needs them. A child can be the parent of another; predictions go on from predictions, with wider
bars. A value is exact again when the child's weights have been read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from evomerge.domain.recipe import Recipe
from evomerge.kinship.metrics import similarity
from evomerge.kinship.passes import Floats
from evomerge.kinship.prediction.bars import (
    Estimate,
    linear_margin,
    margin_bars,
    refitted_margin,
    rounding,
    sampled_margin,
    spread,
)
from evomerge.kinship.prediction.grow import REFITTED, Child, Grown, conceive, grow
from evomerge.kinship.prediction.rules import ANY_DTYPE
from evomerge.kinship.prediction.sample import Sample
from evomerge.kinship.prediction.settings import UnpredictableError
from evomerge.kinship.statistics import Statistics

Estimates: TypeAlias = tuple[tuple[Estimate, ...], ...]

WORST = 0.05
"""A wider bar than this (of euclidean: this part of the larger delta) is no prediction."""

_UNKNOWN = Estimate(None, None)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Statistics of models of which some are predicted.

    Attributes:
        statistics: of all, measured models first. Figures taken from it directly have no bars;
            those of a single tensor are some ten times worse than those of the whole.
        margins: of the predicted models, in units of a correlation; see `bars`.
        refused: the children that cannot be predicted, and why.
        samples: of the base, of models, and of the children that were replayed, by id.
        exact: pairs (sorted) with a predicted model in them that were measured nevertheless.
        replicates: the Gram arrays of the jackknife; of size 0 where nothing is sampled.
    """

    statistics: Statistics
    margins: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, Sample] = field(default_factory=dict, repr=False)
    exact: frozenset[tuple[str, str]] = frozenset()
    replicates: Floats = field(default_factory=lambda: np.empty(0), repr=False)

    @property
    def models(self) -> tuple[str, ...]:
        """All that are known, measured models first."""
        return self.statistics.models

    def pair(self, metric: str, a: str, b: str, *, worst: float = WORST) -> Estimate:
        """The kinship of two models, with its bar; without value and bar for a refused one."""
        return self.matrix(metric, (a, b), worst=worst)[0][1]

    def matrix(
        self, metric: str, models: Sequence[str] | None = None, *, worst: float = WORST
    ) -> Estimates:
        """The kinship of `models` (default: all that are known), [models][models], symmetric.

        Args:
            worst: a value with a wider bar is left out (of euclidean: this part of the larger
                norm of the two deltas).
        """
        values, bars, limits = self._whole(metric)
        place = {model: index for index, model in enumerate(self.models)}

        def estimate(a: str, b: str) -> Estimate:
            if a not in place or b not in place:
                return _UNKNOWN
            at = place[a], place[b]
            value = None if np.isnan(values[at]) else float(values[at])
            if not self._predicted(a, b):
                return Estimate(value, 0.0, predicted=False)
            # Not `bar > limit`: a bar that is NaN must not pass.
            bar = float(bars[at]) if np.isfinite(bars[at]) else None
            return Estimate(value if bars[at] <= worst * limits[at] else None, bar)

        models = self.models if models is None else models
        return tuple(tuple(estimate(a, b) for b in models) for a in models)

    def _predicted(self, a: str, b: str) -> bool:
        if a == b or (min(a, b), max(a, b)) in self.exact:
            return False
        return a in self.margins or b in self.margins

    def _whole(self, metric: str) -> tuple[Floats, Floats, Floats]:
        """Values, bars, and what the widest bar is measured in: [models, models] each."""
        total = self.statistics.gram.sum(axis=0)
        values = similarity(metric, total)
        squares = np.maximum(np.diagonal(total)[2:], 0)
        margins = np.array([self.margins.get(model, 0.0) for model in self.models])
        bars = margin_bars(metric, margins, squares, values)
        if self.replicates.size:
            bars = bars + spread(similarity(metric, self.replicates.sum(axis=1)))
        norms = np.sqrt(squares)
        limits = np.maximum(norms[:, None], norms[None, :])
        return values, bars, limits if metric == "euclidean" else np.ones_like(limits)


def predict(
    known: Statistics | Prediction,
    recipes: Iterable[Recipe],
    samples: Mapping[str, Sample] | None = None,
    *,
    dtype: str = ANY_DTYPE,
) -> Prediction:
    """Predict the children of recipes, each under the id of its recipe.

    Args:
        known: what was measured, with the ids of recipes as the names of models and base.
        recipes: in any order; the parents of one may be the children of others.
        samples: of the base and of models, by id, all of the same coordinates.
        dtype: of the files of the models, as mergekit names it, where samples do not tell it.

    Returns:
        `known` with the children; those that cannot be predicted are in `refused`.
    """
    prediction = known if isinstance(known, Prediction) else Prediction(known)
    prediction = replace(prediction, samples={**prediction.samples, **(samples or {})})
    waiting = {recipe.id: recipe for recipe in recipes if recipe.id not in prediction.models}
    while waiting:
        wave = [one for one in waiting.values() if not set(one.inputs) & set(waiting)]
        if not wave:
            circle = dict.fromkeys(waiting, "it is its own ancestor")
            return replace(prediction, refused={**prediction.refused, **circle})
        prediction = _bear(prediction, wave, dtype)
        for recipe in wave:
            del waiting[recipe.id]
    return prediction


def _bear(prediction: Prediction, wave: Sequence[Recipe], dtype: str) -> Prediction:
    """Add children whose parents are known, or refuse them."""
    children, refused = [], dict(prediction.refused)
    for recipe in wave:
        try:
            children.append(conceive(prediction.statistics, prediction.samples, recipe, dtype))
        except UnpredictableError as error:
            refused[recipe.id] = error.message
    prediction = replace(prediction, refused=refused)
    return add(prediction, children) if children else prediction


def add(prediction: Prediction, children: Sequence[Child]) -> Prediction:
    """Add children to the statistics, the samples and the margins."""
    before = prediction.statistics
    grown = grow(before, prediction.replicates, prediction.samples, children)
    sampled = {one.id: one.sample for one in children if one.sample is not None}
    margins = {
        one.id: _margin(one, grown, index, len(before.models))
        + _inherited(prediction, one, grown, index)
        for index, one in enumerate(children)
    }
    models = (*before.models, *(one.id for one in children))
    return replace(
        prediction,
        statistics=replace(before, models=models, gram=grown.gram),
        margins={**prediction.margins, **margins},
        samples={**prediction.samples, **sampled},
        replicates=grown.replicates,
    )


def _margin(child: Child, grown: Grown, index: int, models: int) -> float:
    squares = np.diagonal(grown.gram, axis1=1, axis2=2).T
    parts = squares[[2 + models + index, *child.rows[1:]]]
    whole = float(parts[0].sum())
    rounded = rounding(child.dtype, squares[1], parts) / whole if whole > 0 else np.array([np.inf])
    share = float(rounded.sum())
    if child.method == REFITTED:
        return refitted_margin(share, sampled=child.sample is not None)
    if child.sample is None:
        return linear_margin(child.method, share)
    return sampled_margin(
        linear=child.factors is not None,
        random=child.random,
        share=share,
        doubtful=0.0 if child.doubtful is None else float(rounded @ child.doubtful),
        size=child.sample.held,
    )


def _inherited(prediction: Prediction, child: Child, grown: Grown, index: int) -> float:
    """What the child takes on of its parents' margins, by their parts in its delta."""
    models = prediction.models
    square = float(grown.gram[:, 2 + len(models) + index].sum(axis=0)[2 + len(models) + index])
    result = 0.0
    for row in child.rows[1:]:
        part = float(np.sum(grown.factors[:, index, row] ** 2 * grown.gram[:, row, row]))
        share = float(np.sqrt(part / square)) if square > 0 else np.inf
        result += share * prediction.margins.get(models[row - 2], 0.0)
    return result
