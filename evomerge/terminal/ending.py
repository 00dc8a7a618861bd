"""Where the results of a run are, and what to do next: the last lines that it shows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from evomerge.domain.model import Model
from evomerge.domain.state import RunState
from evomerge.store.run_directory import RunDirectory

_MORE = 10
"""Evaluations by which the next command extends a run."""


@dataclass(frozen=True)
class Ending:
    """Paths as seen from the current folder, and commands that work there.

    Attributes:
        report: the page; None if none was written.
        weights: folder or hub id of the best model; None before the first score, and where its
            weights are gone.
    """

    report: str | None
    weights: str | None
    commands: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """One line for each, labelled as in the result of a run."""
        places = [("report", self.report), ("weights", self.weights)]
        told = [f"{label:<8} {place}" for label, place in places if place is not None]
        labels = ["next", *[""] * len(self.commands)]
        return told + [
            f"{each[0]:<8} {each[1]}" for each in zip(labels, self.commands, strict=False)
        ]


def ending_of(run: RunDirectory, state: RunState) -> Ending:
    """Where the report and the best model's weights are, and the two commands worth typing next."""
    page, best = run.path / "report.html", state.best
    return Ending(
        _shown(page) if page.is_file() else None,
        None if best is None else _weights(run, best, state),
        tuple(_next(run, best, state)),
    )


def _weights(run: RunDirectory, best: Model, state: RunState) -> str | None:
    if best.generation:
        link = run.models / best.name
        return _shown(link) if any(link.glob("*.safetensors")) else None
    return next((each.source for each in state.start.foundation if each.name == best.name), None)


def _next(run: RunDirectory, best: Model | None, state: RunState) -> list[str]:
    if not state.finished:
        return [run.command("resume"), run.command("status")]
    if best is not None and best.generation:
        first = run.command("export", "--to", _free(f"{run.name}-{best.name}"))
    else:
        first = run.command("models")
    return [first, run.command("resume", "--more", str(_MORE))]


def _free(name: str) -> str:
    """A name that nothing in the current folder has."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(each for each in names if not os.path.lexists(each))


def _shown(path: Path) -> str:
    """The path from the current folder if it is below it."""
    here = Path.cwd()
    return str(path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path)
