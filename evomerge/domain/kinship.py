"""Model kinship: how alike two models changed from their base (arXiv 2410.12613, section 3).

The numbers come from `evomerge.kinship`; here is what is done with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

from pydantic import field_validator

from evomerge.domain.value import Value


class Metric(StrEnum):
    """Pearson correlation, cosine and Euclidean distance of two weight deltas."""

    PCC = "pcc"
    COSINE = "cosine"
    EUCLIDEAN = "euclidean"


Pair = tuple[str, str]


def pair(a: str, b: str) -> Pair:
    """The unordered pair of two model names, in one order for both spellings."""
    return (a, b) if a <= b else (b, a)


class KinshipReading(Value):
    """The kinship of two models of a run under every metric.

    None where undefined: a model equal to the base has no correlation with anything.
    """

    models: Pair
    pcc: float | None = None
    cosine: float | None = None
    euclidean: float | None = None

    @field_validator("models")
    @classmethod
    def _unordered(cls, models: Pair) -> Pair:
        return pair(*models)

    def value(self, metric: Metric) -> float | None:
        """The reading under one metric."""
        value: float | None = getattr(self, metric.value)
        return value

    def error(self, metric: Metric) -> float | None:
        """Half the width of the interval of an estimate; None of what was measured."""
        return None


class EstimatedReading(KinshipReading):
    """An estimate from stored samples of the weights: for the eye, never in a journal.

    Attributes:
        errors: half the widths of the intervals; at least 95 of 100 true values lie within.
    """

    errors: dict[Metric, float]

    def error(self, metric: Metric) -> float | None:
        return self.errors[metric]


@dataclass(frozen=True)
class KinshipMatrix:
    """The known readings of one metric, symmetric, without a diagonal.

    Attributes:
        errors: half the widths of the intervals of those that are estimates.
    """

    metric: Metric
    values: Mapping[Pair, float | None] = field(default_factory=dict)
    errors: Mapping[Pair, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, metric: Metric, readings: Mapping[Pair, KinshipReading]) -> KinshipMatrix:
        """The matrix of `metric` over `readings`, which are looked up and not copied."""
        return cls(
            metric,
            _Looked(readings, lambda reading: reading.value(metric)),
            _Looked(readings, lambda reading: reading.error(metric)),
        )

    def among(self, pairs: Iterable[Pair]) -> KinshipMatrix:
        """The part of it that tells of `pairs`."""
        wanted = (pair(a, b) for a, b in pairs)
        known = {each: self.values[each] for each in wanted if each in self.values}
        return KinshipMatrix(self.metric, known, {each: self.errors.get(each) for each in known})

    def between(self, a: str, b: str) -> float | None:
        """Kinship of `a` and `b`; None when it is unknown or undefined."""
        return self.values.get(pair(a, b))

    def closeness(self, a: str, b: str) -> float | None:
        """Like `between`, turned so that a higher value always means closer kin."""
        value = self.between(a, b)
        if value is None:
            return None
        return -value if self.metric is Metric.EUCLIDEAN else value

    def mean(self, models: Sequence[str]) -> float | None:
        """Kinship of n models: the mean over all of their pairs; None if a pair has none."""
        values = [self.between(a, b) for a, b in combinations(models, 2)]
        defined = [value for value in values if value is not None]
        if not values or len(defined) < len(values):
            return None
        return math.fsum(defined) / len(defined)

    def error(self, a: str, b: str) -> float | None:
        """Half the width of the interval of an estimate; None of what was measured, or unknown."""
        return self.errors.get(pair(a, b))

    def mean_error(self, models: Sequence[str]) -> float | None:
        """The same of `mean`, at most: the mean of the errors, as if all went one way."""
        errors = [self.error(a, b) for a, b in combinations(models, 2)]
        if self.mean(models) is None or not any(error is not None for error in errors):
            return None
        return math.fsum(error or 0.0 for error in errors) / len(errors)


@dataclass(frozen=True, eq=False)
class _Looked(Mapping[Pair, float | None]):
    """One number of each reading."""

    readings: Mapping[Pair, KinshipReading]
    look: Callable[[KinshipReading], float | None]

    def __getitem__(self, models: Pair) -> float | None:
        return self.look(self.readings[models])

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.readings)

    def __len__(self) -> int:
        return len(self.readings)


def all_pairs(models: Sequence[str]) -> Iterator[Pair]:
    """Every unordered pair of `models`, in their order."""
    for a, b in combinations(models, 2):
        yield pair(a, b)


def kinship_of(models: Pair, a: Sequence[float], b: Sequence[float]) -> KinshipReading:
    """The kinship of two task vectors by its definition (section 3), in sums without rounding.

    pcc and cosine are undefined where a vector is the origin, or for pcc constant.
    """
    return KinshipReading(
        models=models,
        pcc=_cosine(_centred(a), _centred(b)),
        cosine=_cosine(a, b),
        euclidean=math.dist(a, b),
    )


def _centred(vector: Sequence[float]) -> list[float]:
    mean = math.fsum(vector) / len(vector)
    return [value - mean for value in vector]


def _cosine(a: Sequence[float], b: Sequence[float]) -> float | None:
    norm = math.hypot(*a) * math.hypot(*b)
    if norm == 0.0:
        return None
    value = math.fsum(x * y for x, y in zip(a, b, strict=True)) / norm
    return max(-1.0, min(1.0, value))
