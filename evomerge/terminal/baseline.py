"""The baseline (merging all foundation models at once) as text."""

from __future__ import annotations

from evomerge.domain.baseline import Baseline
from evomerge.domain.state import RunState
from evomerge.terminal import figures


def baseline_sentence(baseline: Baseline, state: RunState) -> str:
    """The score of merging all models at once, and the best model's gain over it."""
    best, grid = state.best, baseline.best
    text = grid_text(baseline)
    if best is None or best.content_id == grid.content_id:
        return text
    return f"{text}; the best has {figures.gain((best.score or 0.0) - (grid.score or 0.0))}"


def grid_text(baseline: Baseline) -> str:
    """`74.30 ± 1.2 by 9 merges of all models at once, held-out 73.10 ± 0.6 (run tiny-grid)`."""
    grid, merges = baseline.best, figures.count(baseline.merges, "merge")
    text = f"{figures.score(grid)} by {merges} of all models at once"
    if grid.on("held_out") is not None:
        text += f", held-out {figures.score(grid, 'held_out')}"
    return f"{text} (run {baseline.run})"
