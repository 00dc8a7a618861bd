"""The results of a simulation as a table and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from evomerge.domain.objective import TITLES
from evomerge.simulation.arms import SimulatedArm, better
from evomerge.simulation.landscape import LandscapeSettings
from evomerge.terminal.columns import Fitted, numbers, words
from evomerge.terminal.figures import spelled

FORMAT = 1


@contextmanager
def progress_line(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, on terminals only; yields a callback that takes (done, total)."""
    columns = (TextColumn(what), BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def simulation_view(
    arms: Sequence[SimulatedArm], settings: LandscapeSettings, evaluations: int, seeds: int
) -> RenderableType:
    """The arms, best first, with their scores after a quarter, half and all of the budget."""
    ordered = sorted(arms, key=lambda arm: -arm.after(evaluations)[0])
    first = ordered[0]
    marks = _marks(settings, evaluations)
    name = words("strategy", (spelled(arm.name, "bold" if arm is first else "") for arm in ordered))
    columns = [
        numbers(f"after {mark}", (_spelled(*arm.after(mark)) for arm in ordered)) for mark in marks
    ]
    weakest = numbers("weakest", (f"{arm.weakest.mean():.1f}" for arm in ordered))
    spent = numbers("evals", (f"{arm.spent.mean():.0f}" for arm in ordered))
    beaten = numbers(
        "beaten", ("" if arm is first else f"{better(first, arm):.0%}" for arm in ordered)
    )
    title = Text.assemble(
        (first.config.merge.method, "bold"),
        f"  {TITLES[first.config.evaluation.objective]}, {settings.models} models, {seeds} "
        f"landscapes, interference {settings.interference:g}, {settings.items} items a task",
    )
    notes = (
        "True score of the model with the best measured score, mean over landscapes ± standard "
        "error. weakest: its weakest task. beaten: the share of landscapes on which "
        f"{first.name} ends above. Landscapes are imagined: trust the order, not the numbers."
    )
    return Group(
        title,
        "",
        Fitted(
            [name, *columns, weakest, spent, beaten],
            [name, *columns, weakest, beaten],
            [name, *columns[-2:], beaten],
        ),
        "",
        Text(notes, style="dim"),
    )


def simulation_document(
    arms: Sequence[SimulatedArm], settings: LandscapeSettings, evaluations: int, seeds: int
) -> dict[str, Any]:
    """The output of `evomerge simulate --json`."""
    marks = _marks(settings, evaluations)
    return {
        "format": FORMAT,
        "settings": {
            **asdict(settings),
            "evaluations": evaluations,
            "seeds": seeds,
            "objective": arms[0].config.evaluation.objective,
        },
        "arms": [
            {
                "name": arm.name,
                "strategy": arm.config.strategy.name,
                "k": arm.config.strategy.k,
                "method": arm.config.merge.method,
                "after": {
                    str(mark): dict(zip(("mean", "stderr"), arm.after(mark), strict=True))
                    for mark in marks
                },
                "weakest": float(arm.weakest.mean()),
                "curse": float(arm.curse.mean()),
                "evaluations": float(arm.spent.mean()),
            }
            for arm in arms
        ],
    }


def _marks(settings: LandscapeSettings, evaluations: int) -> list[int]:
    """A quarter, half, three quarters and all of the budget, where offspring exist by then."""
    marks = [evaluations * quarter // 4 for quarter in (1, 2, 3, 4)]
    return [mark for mark in marks if mark > settings.models]


def _spelled(mean: float, error: float) -> str:
    return f"{mean:.1f} ± {error:.1f}"
