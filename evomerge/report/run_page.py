"""The report of one run: its figures, its page and its files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from evomerge.analysis.stages import RULE
from evomerge.report.curves import best_so_far, pool_kinship
from evomerge.report.figure import Drawing, Figure, draw
from evomerge.report.gain import kinship_and_gain
from evomerge.report.heatmap import kinship_of_run
from evomerge.report.page import render
from evomerge.report.subject import Subject, read_subject
from evomerge.report.tables import commands, headline, models_table, recipe_text
from evomerge.report.tree import family_tree
from evomerge.report.weights import weight_change
from evomerge.store.atomic import make_folder, write_atomic
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal import figures
from evomerge.terminal.correlations import correlation_table, stages_table
from evomerge.terminal.differences import gains_line
from evomerge.terminal.gains import gains_table
from evomerge.terminal.held_out import held_out_table
from evomerge.terminal.skills import meaning
from evomerge.terminal.tables import lineage_table

REPORT = "report.html"
PLOTS = "plots"

_PAINTERS: tuple[Callable[[Subject], Figure | None], ...] = (
    best_so_far,
    family_tree,
    kinship_of_run,
    kinship_and_gain,
    pool_kinship,
    weight_change,
)


def write_report(run: RunDirectory, *, plots: bool = True) -> Path:
    """Write `report.html` and, with `plots`, the files of its figures; returns the page's path.

    Every file is replaced atomically, so that a reader never sees a partial page.

    Raises:
        DamagedError: the journal is damaged.
        StoppedError: the disk is full or failing.
    """
    subject = read_subject(run)
    drawings = drawn(subject, png=plots)
    if plots:
        make_folder(run.path / PLOTS)
        for drawing in drawings.values():
            for name, content in drawing.files().items():
                write_atomic(run.path / PLOTS / name, content)
    page = run.path / REPORT
    write_atomic(page, as_page(subject, drawings))
    return page


def drawn(subject: Subject, *, png: bool = True) -> dict[str, Drawing]:
    """All figures by name, for a run that has a scored model."""
    if subject.state.best is None:
        return {}
    figures_ = (paint(subject) for paint in _PAINTERS)
    return {each.name: draw(each, png=png) for each in figures_ if each is not None}


def as_page(subject: Subject, drawings: dict[str, Drawing]) -> str:
    """The report as an HTML page, deterministic for the same journal."""
    state = subject.state
    return render(
        "report.html",
        name=subject.name,
        state=state,
        status="recorded" if subject.recorded else "finished" if state.finished else "unfinished",
        written=_date(state.last_at) if subject.recorded is None else "",
        recorded=subject.recorded,
        facts=headline(subject),
        drawings=drawings,
        plots=PLOTS,
        correlations=correlation_table(subject.series),
        stages=subject.stages,
        stages_table=stages_table(subject.stages),
        held_out=held_out_table(state),
        gains=gains_table(state.gains.comparisons) if state.gains else None,
        verdict=gains_line(state.gains) if state.gains else "",
        rule=RULE,
        table=models_table(subject),
        lineage=lineage_table(state),
        recipe=recipe_text(subject),
        commands=commands(subject),
        meaning=meaning(subject.state.objectives["selection"]),
        config=subject.config,
        environment=subject.environment,
        points=figures.points,
    )


def _date(at: float | None) -> str:
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
