"""Model kinship: similarity of the task vectors of two models (arXiv 2410.12613, section 3).

`evomerge.kinship` measures it from weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

from pydantic import field_validator

from evomerge.domain.value import Value


class Metric(StrEnum):
    """Pearson correlation, cosine or Euclidean distance of two task vectors."""

    PCC = "pcc"
    COSINE = "cosine"
    EUCLIDEAN = "euclidean"

    def closeness(self, value: float | None) -> float | None:
        """A value of this metric, negated if it is a distance: higher is closer."""
        return -value if value is not None and self is Metric.EUCLIDEAN else value


Pair = tuple[str, str]


def pair(a: str, b: str) -> Pair:
    """The unordered pair of two model names, as a sorted tuple."""
    return (a, b) if a <= b else (b, a)


class KinshipReading(Value):
    """The kinship of two models by every metric.

    None where undefined, for example correlations with a model that equals the base.
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
        """The reading by one metric."""
        value: float | None = getattr(self, metric)
        return value

    def error(self, metric: Metric) -> float | None:
        """Half the width of an estimate's confidence interval; None for a measurement."""
        return None


class EstimatedReading(KinshipReading):
    """An estimate from stored samples of the weights; for display only, never in a journal.

    Attributes:
        errors: half widths of the 95 % confidence intervals.
    """

    errors: dict[Metric, float]

    def error(self, metric: Metric) -> float | None:
        return self.errors[metric]


@dataclass(frozen=True)
class KinshipMatrix:
    """Kinship by one metric of unordered pairs of models.

    Attributes:
        errors: half widths of the confidence intervals, None for measurements.
    """

    metric: Metric
    values: Mapping[Pair, float | None] = field(default_factory=dict)
    errors: Mapping[Pair, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, metric: Metric, readings: Mapping[Pair, KinshipReading]) -> KinshipMatrix:
        """The matrix of `metric` as a view of `readings`."""
        return cls(
            metric,
            _View(readings, lambda reading: reading.value(metric)),
            _View(readings, lambda reading: reading.error(metric)),
        )

    def among(self, pairs: Iterable[Pair]) -> KinshipMatrix:
        """The matrix restricted to `pairs`."""
        wanted = (pair(a, b) for a, b in pairs)
        known = {each: self.values[each] for each in wanted if each in self.values}
        return KinshipMatrix(self.metric, known, {each: self.errors.get(each) for each in known})

    def between(self, a: str, b: str) -> float | None:
        """Kinship of `a` and `b`; None if unknown or undefined."""
        return self.values.get(pair(a, b))

    def table(self, models: Sequence[str]) -> list[list[float | None]]:
        """Rows of `between` for models of different names; None on the diagonal."""
        place = {name: number for number, name in enumerate(models)}
        rows: list[list[float | None]] = [[None] * len(models) for _ in models]
        for (a, b), value in self.values.items():
            if a in place and b in place:
                rows[place[a]][place[b]] = rows[place[b]][place[a]] = value
        return rows

    def closeness(self, a: str, b: str) -> float | None:
        """Like `between`, but higher is closer for every metric (distances are negated)."""
        return self.metric.closeness(self.between(a, b))

    def mean(self, models: Sequence[str]) -> float | None:
        """Kinship of n models, the mean over all pairs; None if it is missing for a pair."""
        values = [self.between(a, b) for a, b in combinations(models, 2)]
        defined = [value for value in values if value is not None]
        if not values or len(defined) < len(values):
            return None
        return math.fsum(defined) / len(defined)

    def error(self, a: str, b: str) -> float | None:
        """Half the width of an estimate's confidence interval; None if measured or unknown."""
        return self.errors.get(pair(a, b))

    def mean_error(self, models: Sequence[str]) -> float | None:
        """An upper bound of the error of `mean`: the mean error; None if nothing is estimated."""
        errors = [self.error(a, b) for a, b in combinations(models, 2)]
        if self.mean(models) is None or not any(error is not None for error in errors):
            return None
        return math.fsum(error or 0.0 for error in errors) / len(errors)


@dataclass(frozen=True, eq=False)
class _View(Mapping[Pair, float | None]):
    """A mapping of pairs to one number of their readings."""

    readings: Mapping[Pair, KinshipReading]
    number: Callable[[KinshipReading], float | None]

    def __getitem__(self, models: Pair) -> float | None:
        return self.number(self.readings[models])

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.readings)

    def items(self) -> ItemsView[Pair, float | None]:
        """All at once, which takes a third of the time of one by one."""
        return {models: self.number(reading) for models, reading in self.readings.items()}.items()

    def __len__(self) -> int:
        return len(self.readings)


def all_pairs(models: Sequence[str]) -> Iterator[Pair]:
    """Every unordered pair of `models`."""
    for a, b in combinations(models, 2):
        yield pair(a, b)


def kinship_of(models: Pair, a: Sequence[float], b: Sequence[float]) -> KinshipReading:
    """The kinship of two task vectors by its definition (section 3), with exact sums.

    cosine is undefined for zero vectors, pcc for constant ones.
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
