"""Numbers and times as pages show them; `±` is always half of a 95 % interval."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from evomerge.domain.model import Model
from evomerge.domain.objective import Estimate
from evomerge.domain.scores import TaskScore
from evomerge.terminal import figures
from evomerge.views.intervals import half_width


def task(score: TaskScore | None) -> str:
    """The score on a task with its interval: `71.3 ± 2.4`."""
    if score is None:
        return figures.MISSING
    return _with_interval(score.value, score.stderr, 1)


def estimate(found: Estimate | None) -> str:
    """A score with its interval: `71.30 ± 2.4`."""
    return figures.MISSING if found is None else _with_interval(*found, 2)


def _with_interval(value: float, stderr: float | None, digits: int) -> str:
    half = "" if stderr is None else f" ± {half_width(stderr):.1f}"
    return f"{value:.{digits}f}{half}"


def status(model: Model) -> str:
    """What has become of a model."""
    if model.failure is not None:
        return "failed"
    if model.kept_out is not None:
        return "kept out"
    if model.scores is not None:
        return "scored"
    return "merged" if model.merged else "waiting"


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
    "status": status,
    "coefficient": coefficient,
}
"""The filters of templates."""
