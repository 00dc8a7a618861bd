"""Numbers and times as pages show them; `±` is always half of a 95 % interval."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from evomerge.domain.objective import Estimate
from evomerge.domain.scores import TaskScore
from evomerge.terminal import figures


def task(score: TaskScore | None) -> str:
    """The score on a task with its interval: `71.3 ± 2.4`."""
    if score is None:
        return figures.MISSING
    return figures.task_points(score, with_error=True)


def estimate(found: Estimate | None) -> str:
    """A score with its interval: `71.30 ± 2.4`."""
    return figures.MISSING if found is None else figures.points(*found)


def date(at: float | None) -> str:
    """A moment in UTC; recorded results, whose clock starts at 0, have none."""
    if at is None or at < 1e9:
        return figures.MISSING
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def coefficient(value: Any) -> str:
    """A merge weight: four digits, without zeros at the end."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


FILTERS: dict[str, Callable[..., str]] = {
    "task": task,
    "estimate": estimate,
    "gain": figures.gain,
    "looks_of": lambda value: {"green": "up", "red": "down"}.get(
        figures.gain_style(value), "muted"
    ),
    "clock": figures.clock,
    "date": date,
    "coefficient": coefficient,
}
"""The filters of templates."""
