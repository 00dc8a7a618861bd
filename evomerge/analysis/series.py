"""Merges of any source as one kind of table: runs, CSV files, the paper's evolution paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.analysis.correlation import Correlation, correlate
from evomerge.analysis.stages import Point, Stages, stages

COLUMNS = ("kinship", "pcc", "cosine", "cs", "euclidean", "ed")
"""What a kinship may be called; `cs` and `ed` are the paper's names of cosine and distance."""

SCORES = ("score", "atp")
"""What a score may be called; `atp` is the paper's average task performance."""


@dataclass(frozen=True)
class Series:
    """Merges in the order in which they were made.

    Attributes:
        rows: each with `gain` in points, and kinship under some of `COLUMNS`.
        points: what the rule of stages looks at; empty where scores or generations are unknown.
    """

    name: str
    rows: tuple[Mapping[str, float], ...]
    points: tuple[Point, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names under which a kinship is known."""
        return tuple(name for name in COLUMNS if any(name in row for row in self.rows))

    @property
    def stages(self) -> Stages | None:
        """Learning and saturation; None where scores by generation are unknown."""
        return stages(self.points) if self.points else None

    def correlations(self, metric: str) -> tuple[Correlation, Correlation]:
        """Kinship under `metric` with gain, and with |gain|."""
        known = [row for row in self.rows if metric in row]
        kinship, gains = [row[metric] for row in known], [row["gain"] for row in known]
        return correlate(kinship, gains), correlate(kinship, [abs(gain) for gain in gains])


def series_of(name: str, table: Sequence[Mapping[str, Any]]) -> Series:
    """Merges from the rows of a table; columns of other names are passed over.

    Raises:
        ValueError: says which row lacks what, counted from 1; or that there is no kinship at all.
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
    """All merges of several series, each once: arms share their first generations.

    Merges with the same gain, kinship and score are taken for the same. Stages are those of one
    search only, so there are none.
    """
    once: dict[tuple[tuple[str, float], ...], Mapping[str, float]] = {}
    for series in several:
        for row in series.rows:
            key = tuple(sorted((k, v) for k, v in row.items() if k != "generation"))
            once.setdefault(key, row)
    return Series("together, each merge once", tuple(once.values()))


def _best_of_each(points: Sequence[Point]) -> list[Point]:
    """One point a generation, in order: that of its best child."""
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
        raise ValueError(f"row {row}: {key} is {value!r}, a number was expected") from None
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN
        raise ValueError(f"row {row}: {key} is {value!r}, a finite number was expected")
    return number
