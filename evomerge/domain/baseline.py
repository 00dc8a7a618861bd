"""The baseline of a search: all foundation models merged at once over a small grid (`seed_grid`).

It comes from the run itself, if its strategy includes the grid, or from another run over the same
models and items.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evomerge.domain.model import Model
from evomerge.domain.population import rank
from evomerge.domain.state import RunState


@dataclass(frozen=True)
class Baseline:
    """The result of a seed grid.

    Attributes:
        run: name of its run.
        merges: number of scored merges of the grid.
        best: the best of them on the selection split that is not kept out.
    """

    run: str
    merges: int
    best: Model


def baseline_of(state: RunState, others: Iterable[RunState] = ()) -> Baseline | None:
    """The largest finished grid over the models and items of `state`; None if there is none.

    Ties: grids whose best merge has a held-out score come first, then the run's own grid.
    """
    if state.started is None or not _measure(state):
        return None
    found = [
        grid
        for each in (state, *others)
        if _alike(each, state) and (grid := _grid(each.judged_as(state)))
    ]
    return max(found, key=_worth, default=None)


def _worth(grid: Baseline) -> tuple[int, bool]:
    return grid.merges, grid.best.on("held_out") is not None


def _grid(state: RunState) -> Baseline | None:
    models = [model for model in state.models.values() if model.kind == "grid"]
    scored = [model for model in models if model.scores is not None]
    best = min((model for model in scored if model.selectable), key=rank, default=None)
    if best is None or any(model in state.unscored for model in models):
        return None
    return Baseline(state.start.name, len(scored), best)


def _alike(one: RunState, other: RunState) -> bool:
    """Whether two runs have the same base, foundation models and evaluation."""
    return (
        one.started is not None
        and one.start.base.content_id == other.start.base.content_id
        and _founders(one) == _founders(other)
        and _measure(one) == _measure(other)
    )


def _founders(state: RunState) -> set[str]:
    return {model.content_id for model in state.start.foundation}


def _measure(state: RunState) -> set[tuple[str, tuple[tuple[str, str, float], ...]]]:
    """Evaluation ids, metrics and task weights of the foundation models' scores."""
    return {
        (
            model.scores.evaluation_id,
            tuple((task.task, task.metric, task.weight) for task in model.scores.tasks),
        )
        for model in state.models.values()
        if model.generation == 0 and model.scores is not None
    }
