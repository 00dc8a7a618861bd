"""The report of one run: its figures, its page and its files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml

from evomerge.analysis.stages import RULE
from evomerge.domain.model import Model
from evomerge.domain.state import RunState
from evomerge.report.curves import best_so_far, pool_kinship
from evomerge.report.figure import Drawing, Figure, draw
from evomerge.report.gain import kinship_and_gain
from evomerge.report.heatmap import kinship_of_run
from evomerge.report.page import render
from evomerge.report.subject import Subject, read_subject
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
from evomerge.terminal.summary import outcome_facts
from evomerge.terminal.tables import lineage_table, models_table

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
    state, recorded = subject.state, subject.recorded
    models = [*state.ranking, *(m for m in state.models.values() if not m.selectable)]
    facts = outcome_facts(state, subject.baseline)
    return render(
        "report.html",
        name=subject.name,
        state=state,
        status="recorded" if recorded else "finished" if state.finished else "unfinished",
        written=_date(state.last_at) if recorded is None else "",
        recorded=recorded,
        facts=[(label, text.plain) for label, text in facts],
        drawings=drawings,
        plots=PLOTS,
        correlations=correlation_table(subject.series),
        stages=subject.stages,
        stages_table=stages_table(subject.stages),
        held_out=held_out_table(state),
        gains=gains_table(state.gains.comparisons) if state.gains else None,
        verdict=gains_line(state.gains) if state.gains else "",
        rule=RULE,
        models=models_table(state, models, recorded.assumed_parents if recorded else ()),
        rows=_rows(models, state),
        lineage=lineage_table(state),
        recipe=_recipe(subject),
        commands=_commands(subject),
        meaning=meaning(subject.state.objectives["selection"]),
        config=subject.config,
        environment=subject.environment,
        points=figures.points,
    )


def _date(at: float | None) -> str:
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _rows(models: Sequence[Model], state: RunState) -> list[tuple[str, str]]:
    """The id of every model's row, which the family tree links to, and its CSS class."""
    numbers = {name: number for number, name in enumerate(state.models)}
    best = state.best
    return [
        (
            f"m{numbers[m.name]}",
            "failed" if m.failure or m.kept_out else "best" if m is best else "",
        )
        for m in models
    ]


def _recipe(subject: Subject) -> str:
    """The recipe of the best model as YAML, with names instead of content ids."""
    best = subject.state.best
    if best is None or best.candidate is None:
        return ""
    names = {model.content_id: model.name for model in subject.state.models.values()}
    base = subject.state.start.base
    names[base.content_id] = base.name
    recipe = best.candidate.recipe.model_dump(mode="json", exclude_defaults=True)
    recipe["base"] = names.get(recipe["base"], recipe["base"])
    for parent in recipe["parents"]:
        parent["model"] = names.get(parent["model"], parent["model"])
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=90)


def _commands(subject: Subject) -> dict[str, str]:
    """Shell commands for using and recreating the best model."""
    run, best = subject.name, subject.state.best
    name = "MODEL" if best is None else best.name
    return {
        "path": f"models/{name}",
        "rebuild": shlex.join(["evomerge", "rebuild", run, name]),
        "resume": shlex.join(["evomerge", "resume", run]),
        "show": shlex.join(["evomerge", "show", run, name]),
    }
