"""Model kinship: how alike two models changed from their base (arXiv 2410.12613, section 3).

The numbers come from `evomerge.kinship`; here is what is done with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class KinshipMatrix:
    """The known readings of one metric, symmetric, without a diagonal."""

    metric: Metric
    values: Mapping[Pair, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, metric: Metric, readings: Mapping[Pair, KinshipReading]) -> KinshipMatrix:
        """The matrix of `metric` over `readings`, which are looked up and not copied."""
        return cls(metric, _OneMetric(metric, readings))

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


@dataclass(frozen=True, eq=False)
class _OneMetric(Mapping[Pair, float | None]):
    """Readings, seen under one metric."""

    metric: Metric
    readings: Mapping[Pair, KinshipReading]

    def __getitem__(self, models: Pair) -> float | None:
        return self.readings[models].value(self.metric)

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
