"""The report of one run: its figures, its page and its files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from evomerge.analysis.stages import RULE
from evomerge.report.curves import best_so_far, pool_kinship
from evomerge.report.figure import Drawing, Figure, draw
from evomerge.report.gain import correlations, kinship_and_gain
from evomerge.report.heatmap import heatmap
from evomerge.report.held_out import gain_rows, held_out_rows
from evomerge.report.page import render
from evomerge.report.subject import Subject, read_subject
from evomerge.report.tables import (
    commands,
    correlation_rows,
    headline,
    lineage_rows,
    models_table,
    recipe_text,
    stage_rows,
)
from evomerge.report.tree import family_tree
from evomerge.report.weights import weight_change
from evomerge.store.atomic import make_folder, write_atomic
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal import figures
from evomerge.terminal.skills import meaning

REPORT = "report.html"
PLOTS = "plots"

_PAINTERS: tuple[Callable[[Subject], Figure | None], ...] = (
    best_so_far,
    family_tree,
    heatmap,
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
    plain, absolute = correlations(subject.merges, state.start.metric)
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
        correlations=correlation_rows(plain, absolute),
        stages=subject.stages,
        held_out=held_out_rows(state),
        gains=gain_rows(state),
        stage_rows=stage_rows(subject.stages, state.start.metric),
        rule=RULE,
        table=models_table(subject),
        lineage=lineage_rows(subject),
        recipe=recipe_text(subject),
        commands=commands(subject),
        meaning=meaning(subject.state.objectives["selection"]),
        config=subject.config,
        environment=subject.environment,
        points=figures.points,
    )


def _date(at: float | None) -> str:
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
