"""Kinship estimated from samples of the weights, with intervals.

For a tensor with n elements, m of them sampled, the products of deltas are estimated as n / m times
their sum over the sample (stratified expansion estimator: Särndal, Swensson, Wretman, Model
Assisted Survey Sampling, 1992, chapter 3). The metrics are nonlinear in these products; their
standard error is a jackknife over groups of the sample (Wolter, Introduction to Variance
Estimation, 2007, chapter 4), with deviations scaled by the finite population correction,
sqrt(1 - m / n), so that a tensor that is sampled whole contributes no error.

Estimates are for display only: no decision of a run reads one, and none is in a journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import isnan
from typing import NamedTuple, TypeAlias

import numpy as np

from evomerge.kinship.metrics import similarity
from evomerge.kinship.passes import Floats
from evomerge.kinship.places import RUN, Indices
from evomerge.kinship.sample import Sample, SampledTensor, as_floats
from evomerge.kinship.union import alike

GROUPS = 20
_DEVIATIONS = 2.86
"""Standard errors in half an interval: covers 99 % with 19 degrees of freedom."""

_FLOOR = 1e-7
"""Lower bound of the error of a partial sample, in a correlation or relative to a distance."""

Pair: TypeAlias = tuple[str, str]
Parts: TypeAlias = Callable[[str], Iterable[str]]
"""The parts of a model that a tensor belongs to, by its name; "" is the whole model."""


class KinshipEstimate(NamedTuple):
    """A kinship value (None if undefined) and half the width of its interval.

    At least 95 of 100 true values lie within value ± error. The error is 0 if the sample holds all
    weights.
    """

    value: float | None
    error: float


def parts_of(exclude: Sequence[str], key: Callable[[str], str | None] | None = None) -> Parts:
    """Assign all tensors to the whole model, except those that match a pattern of `exclude`.

    Args:
        key: the additional part that a tensor belongs to, as in `Statistics.split_by`.
    """

    def parts(name: str) -> Iterable[str]:
        if any(fnmatchcase(name, pattern) for pattern in exclude):
            return ()
        further = None if key is None else key(name)
        return ("",) if further is None else ("", further)

    return parts


def estimates(
    base: Sample,
    models: Mapping[str, Sample],
    pairs: Iterable[Pair],
    metrics: Sequence[str],
    parts: Parts = parts_of(()),  # noqa: B008 - it is stateless
) -> dict[str, dict[str, dict[Pair, KinshipEstimate]]]:
    """Estimates of `pairs` by part and metric.

    A pair is compared over the tensors and rows that the base and both models have.

    Args:
        base, models: samples with the same layout, of every model of a pair.
    """
    found: dict[str, dict[str, dict[Pair, KinshipEstimate]]] = {}
    for group in alike({name: sample.shape(base) for name, sample in models.items()}, pairs):
        names = list(dict.fromkeys(name for pair in group for name in pair))
        place = {name: index for index, name in enumerate(names)}
        grams = _grams(base, [models[name] for name in names], parts)
        for part, gram in grams.items():
            for metric in metrics:
                values, errors = _with_errors(metric, gram)
                by_pair = found.setdefault(part, {}).setdefault(metric, {})
                for a, b in group:
                    value = float(values[place[a], place[b]])
                    error = float(errors[place[a], place[b]])
                    known = not isnan(value)
                    by_pair[a, b] = KinshipEstimate(
                        value if known else None, error if known else 0.0
                    )
    return found


def _grams(base: Sample, models: Sequence[Sample], parts: Parts) -> dict[str, Floats]:
    """The Gram matrices over [1, deltas] by part: [1 + GROUPS, 1 + models, 1 + models].

    Entry 0 is the estimate, the others leave out one group each.
    """
    width = 1 + len(models)
    grams: dict[str, Floats] = {}
    for name, tensor in base.tensors.items():
        into = tuple(parts(name))
        if into and all(name in model.tensors for model in models):
            held = [model.tensors[name] for model in models]
            gram = _gram(base, tensor, held)
            for part in into:
                grams.setdefault(part, np.zeros((1 + GROUPS, width, width)))
                grams[part] += gram
    return grams


def _gram(base: Sample, tensor: SampledTensor, models: Sequence[SampledTensor]) -> Floats:
    """The Gram matrices of one tensor, over the elements that all models have."""
    count = min([tensor.count, *(one.held for one in models)])
    # Coordinates ascend, so those within the common rows come first in every sample.
    length = base.length(tensor.name, count)
    rows = np.ones((1 + len(models), length))
    origin = as_floats(tensor.weights[:length], tensor.dtype)
    for row, one in zip(rows[1:], models, strict=True):
        row[:] = as_floats(one.weights[:length], one.dtype) - origin
    runs: Indices = np.arange(length) // RUN % GROUPS
    chosen = [rows[:, runs == group] for group in range(GROUPS)]
    sums = np.array([part @ part.T for part in chosen])
    lengths = np.array([part.shape[1] for part in chosen])
    mean = sums.sum(axis=0) / max(length, 1)
    left = np.maximum(length - lengths, 1)[:, None, None]
    without = np.where(lengths[:, None, None] < length, (length * mean - sums) / left, mean)
    spread = np.sqrt(max(0.0, 1 - length / max(count, 1)))
    replicates: Floats = count * np.concatenate([mean[None], mean + spread * (without - mean)])
    return replicates


def _with_errors(metric: str, gram: Floats) -> tuple[Floats, Floats]:
    """Values and half the widths of their intervals, each [models, models]."""
    each = similarity(metric, gram)
    deviations = each[1:] - each[0]
    variance = (GROUPS - 1) / GROUPS * np.sum(deviations**2, axis=0)
    errors = _DEVIATIONS * np.sqrt(variance)
    floor = _FLOOR * (np.abs(each[0]) if metric == "euclidean" else 1.0)
    partial = np.abs(gram[1:] - gram[0]).max() > 0
    return each[0], errors + floor if partial else errors
