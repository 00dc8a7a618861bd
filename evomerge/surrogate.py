"""Bayesian optimisation of merge coefficients: a Gaussian process per task, expected improvement.

The objective is modelled through its tasks (composite Bayesian optimisation: Astudillo and Frazier,
arXiv 1906.01537), since scores per task contain more information than their combination. The next
point maximises the expected improvement (Jones et al. 1998) of the objective. The processes are
scikit-learn's `GaussianProcessRegressor`, fitted again for each choice, so that there is no state.
Rounding of another processor can change a choice; resumed runs keep the choices of their journal.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evomerge.domain.model import Coefficients
from evomerge.domain.objective import Combination
from evomerge.significance.combination import values

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

# Random candidates over the whole range, and around the best point for each standard deviation.
_ANYWHERE, _NEAR, _SPREADS = 1500, 500, (0.05, 0.1, 0.25)
_DIGITS = 3
_SAMPLES = 96
_FORECASTS, _FEWEST = 512, 3
_SOBOL = 9  # 2^9 points

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """A point with the scores of its merge.

    Attributes:
        point: one weight per foundation model, in the same order for all observations.
        scores: one per task, from 0 to 1.
    """

    point: Coefficients
    scores: tuple[float, ...]


def suggest(
    seen: Sequence[Observation],
    objective: Combination,
    densities: Sequence[float],
    highest: float,
    rng: Random,
) -> Coefficients:
    """The unobserved candidate of highest expected improvement.

    Args:
        seen: at least one observation; their order affects only rounding.
        objective: over the tasks, in the order of the scores.
        densities: densities of TIES; task arithmetic is always a candidate.
        highest: upper bound of the weights; the lower bound is 0.
    """
    draw = np.random.default_rng(rng.getrandbits(64))
    known = np.array([_features(each.point) for each in seen])
    scores = np.array([each.scores for each in seen]).T
    reached = values(objective, 100.0 * scores)
    best = seen[int(np.argmax(reached))].point
    points = _drawn(best, densities, highest, draw)
    features = np.array([_features(each) for each in points])
    sampled = np.array([_sampled(known, column, features, draw) for column in scores])
    gains = values(objective, 100.0 * sampled) - reached.max()
    worth = np.maximum(gains, 0.0).mean(axis=1)
    taken = {each.point for each in seen}
    order = np.argsort(-worth, kind="stable")
    return next(point for place in order if (point := points[int(place)]) not in taken)


def kriging_believer(seen: Sequence[Observation], point: Coefficients) -> Observation:
    """The expected scores of a point as an observation (Ginsbourger et al. 2010).

    With it the next point of a batch is a different one.
    """
    known = np.array([_features(each.point) for each in seen])
    at = np.array([_features(point)])
    columns = np.array([each.scores for each in seen]).T
    expected = [float(_process(known, column).predict(at)[0] + column.mean()) for column in columns]
    return Observation(point, tuple(min(max(each, 0.0), 1.0) for each in expected))


class Forecast(NamedTuple):
    """An expected score in points, with its standard deviation."""

    value: float
    deviation: float


@dataclass(frozen=True)
class Surrogate:
    """The processes fitted to observations, to look back at a search.

    Attributes:
        known: features of the observations, shape (observations, features).
        columns: their scores, shape (tasks, observations).
        processes: one for each task.
    """

    known: Floats
    columns: Floats
    processes: tuple[GaussianProcessRegressor, ...]

    @classmethod
    def of(cls, seen: Sequence[Observation]) -> Surrogate:
        """Fit the processes to at least one observation."""
        known = np.array([_features(each.point) for each in seen])
        columns = np.array([each.scores for each in seen]).T
        return cls(known, columns, tuple(_process(known, column) for column in columns))


def hindcast(
    surrogate: Surrogate, born: Sequence[int], objective: Combination
) -> list[Forecast | None]:
    """The score that the processes expect at each point from the points of earlier generations.

    Their length scales are those fitted to all points. The deviation includes the noise of a score.

    Args:
        born: the generation of each observation; None is returned where fewer than three are
            earlier.
    """
    known, columns, fitted = surrogate.known, surrogate.columns, surrogate.processes
    draw = np.random.default_rng(0).standard_normal((len(columns), _FORECASTS))
    generations = np.array(born)
    forecasts: list[Forecast | None] = []
    for place, generation in enumerate(born):
        before = generations < generation
        if before.sum() < _FEWEST:
            forecasts.append(None)
            continue
        at = known[place : place + 1]
        sampled = []
        for process, column, noise in zip(fitted, columns, draw, strict=True):
            mean, deviation = _again(process, known[before], column[before]).predict(
                at, return_std=True
            )
            expected = column[before].mean() + mean[0] + deviation[0] * noise
            sampled.append(expected.clip(0.0, 1.0))
        points = values(objective, 100.0 * np.array(sampled))
        forecasts.append(Forecast(float(points.mean()), float(points.std())))
    return forecasts


def importances(surrogate: Surrogate, objective: Combination) -> list[float]:
    """The total Sobol index of each weight: which share of the variance depends on it.

    Of the variance of the processes' mean score where all weights vary independently over the range
    of the observations, with the best observation's method and density. Since weights act together,
    the shares can add up to more than 1. Estimator of Jansen (1999) over a Sobol sequence, so there
    is no randomness. All 0 if the mean score does not vary.
    """
    from scipy.stats import qmc

    known, columns, fitted = surrogate.known, surrogate.columns, surrogate.processes
    best = known[int(np.argmax(values(objective, 100.0 * columns)))]
    n = known.shape[1] - 2
    low, high = known[:, :n].min(axis=0), known[:, :n].max(axis=0)
    units = qmc.Sobol(2 * n, scramble=False).random_base2(_SOBOL)
    one, two = (low + (high - low) * half for half in (units[:, :n], units[:, n:]))

    def expected(weights: Floats) -> Floats:
        points = np.hstack([weights, np.tile(best[n:], (len(weights), 1))])
        means = [
            (process.predict(points) + column.mean()).clip(0.0, 1.0)
            for process, column in zip(fitted, columns, strict=True)
        ]
        return values(objective, 100.0 * np.array(means))

    at = expected(one)
    variance = float(at.var())
    if variance < 1e-9:
        return [0.0] * n
    shares = []
    for weight in range(n):
        mixed = one.copy()
        mixed[:, weight] = two[:, weight]
        shares.append(float(((at - expected(mixed)) ** 2).mean() / (2.0 * variance)))
    return shares


def _again(
    process: GaussianProcessRegressor, known: Floats, scores: Floats
) -> GaussianProcessRegressor:
    """A process with the same length scales over other observations."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    anew = GaussianProcessRegressor(process.kernel_, optimizer=None)
    return anew.fit(known, scores - scores.mean())


def _features(point: Coefficients) -> list[float]:
    """The weights, whether the method is TIES, and its density (else 1)."""
    return [*point.weights, float(point.method == "ties"), point.density or 1.0]


def _drawn(
    best: Coefficients, densities: Sequence[float], highest: float, draw: np.random.Generator
) -> list[Coefficients]:
    """Candidates over the whole range and, half of them with its method, around the best point."""
    n = len(best.weights)
    weights = [draw.uniform(0.0, highest, (_ANYWHERE, n))]
    for spread in _SPREADS:
        near = np.array(best.weights) + draw.normal(0.0, spread, (_NEAR, n))
        anew = draw.random((_NEAR, n)) < (0.3 if spread == _SPREADS[-1] else 0.0)
        weights.append(np.where(anew, draw.uniform(0.0, highest, (_NEAR, n)), near))
    rows = np.clip(np.concatenate(weights), 0.0, highest).round(_DIGITS)
    operators = [*densities, None]
    chosen = draw.integers(len(operators), size=len(rows))
    keep = (np.arange(len(rows)) >= _ANYWHERE) & (draw.random(len(rows)) < 0.5)
    return [
        Coefficients.at([float(x) for x in row], best.density if kept else operators[operator])
        for row, operator, kept in zip(rows, chosen, keep, strict=True)
    ]


def _sampled(known: Floats, scores: Floats, points: Floats, draw: np.random.Generator) -> Floats:
    """Samples of a task's score at each point, from 0 to 1, shape (points, samples)."""
    mean, deviation = _process(known, scores).predict(points, return_std=True)
    noise = draw.standard_normal(_SAMPLES)
    sampled: Floats = scores.mean() + mean[:, None] + deviation[:, None] * noise
    return sampled.clip(0.0, 1.0)


def _process(known: Floats, scores: Floats) -> GaussianProcessRegressor:
    """The process fitted to the centred scores of a task."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    weights = known.shape[1] - 2
    smooth = Matern([0.7] * weights + [1.0] * 2, [(0.2, 5.0)] * weights + [(0.3, 10.0)] * 2, nu=2.5)
    kernel = ConstantKernel(0.2, (0.02, 2.0)) * smooth + WhiteKernel(1e-3, (1e-4, 1e-2))
    process = GaussianProcessRegressor(kernel)
    with warnings.catch_warnings():
        # A length scale at its bound is a property of the task, not an error.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(known, scores - scores.mean())
