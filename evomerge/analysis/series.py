"""Tables of merges from any source: runs, CSV files, the paper's evolution paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.analysis.correlation import Correlation, correlate
from evomerge.analysis.stages import Point, Stages, stages

COLUMNS = ("kinship", "pcc", "cosine", "cs", "euclidean", "ed")
"""Accepted column names of kinship; `cs` and `ed` are the paper's for cosine and distance."""

SCORES = ("score", "atp")
"""Accepted column names of scores; `atp` is the paper's average task performance."""


@dataclass(frozen=True)
class Series:
    """A table of merges in order of creation.

    Attributes:
        rows: each with `gain` in points, and kinship under some names of `COLUMNS`.
        points: input of the stage rule; empty if scores or generations are unknown.
    """

    name: str
    rows: tuple[Mapping[str, float], ...]
    points: tuple[Point, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The column names of kinship that occur."""
        return tuple(name for name in COLUMNS if any(name in row for row in self.rows))

    @property
    def stages(self) -> Stages | None:
        """The learning and saturation stages; None if scores by generation are unknown."""
        return stages(self.points) if self.points else None

    def correlations(self, metric: str) -> tuple[Correlation, Correlation]:
        """Correlations of kinship under `metric` with gain, and with |gain|."""
        known = [row for row in self.rows if metric in row]
        kinship, gains = [row[metric] for row in known], [row["gain"] for row in known]
        return correlate(kinship, gains), correlate(kinship, [abs(gain) for gain in gains])


def series_of(name: str, table: Sequence[Mapping[str, Any]]) -> Series:
    """Merges from the rows of a table; unknown columns are ignored.

    Raises:
        ValueError: a row (counted from 1) has a missing or wrong value, or no column is kinship.
    """
    rows: list[dict[str, float]] = []
    points: list[Point] = []
    for number, given in enumerate(table, start=1):
        values = {
            key: _number(given[key], key, number)
            for key in ("generation", "gain", *SCORES, *COLUMNS)
            if given.get(key) not in (None, "")
        }
        if "gain" not in values:
            raise ValueError(f"row {number}: no gain")
        rows.append(values)
        score = next((values[key] for key in SCORES if key in values), None)
        kinship = next((values[key] for key in COLUMNS if key in values), None)
        if score is not None and "generation" in values:
            points.append(Point(int(values["generation"]), score, kinship, values["gain"]))
    series = Series(name, tuple(rows), tuple(_best_of_each(points)))
    if not series.metrics:
        raise ValueError(f"no kinship: expected one of the columns {', '.join(COLUMNS)}")
    return series


def together(several: Sequence[Series]) -> Series:
    """All merges of several series without duplicates: arms share their first generations.

    Merges with equal gain, kinship and score count as duplicates. The result has no stages, which
    are defined for a single search only.
    """
    once: dict[tuple[tuple[str, float], ...], Mapping[str, float]] = {}
    for series in several:
        for row in series.rows:
            key = tuple(sorted((k, v) for k, v in row.items() if k != "generation"))
            once.setdefault(key, row)
    return Series("all, without duplicates", tuple(once.values()))


def _best_of_each(points: Sequence[Point]) -> list[Point]:
    """One point per generation, in order: that of its best child."""
    best: dict[int, Point] = {}
    for point in points:
        known = best.get(point.generation)
        if known is None or (point.score or 0.0) > (known.score or 0.0):
            best[point.generation] = point
    return [best[number] for number in sorted(best)]


def _number(value: Any, key: str, row: int) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"row {row}: {key} is {value!r}, expected a number") from None
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN
        raise ValueError(f"row {row}: {key} is {value!r}, expected a finite number")
    return number
