"""The report of one run: its page, and the files of its figures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evomerge.analysis.models import model_rows
from evomerge.analysis.stages import RULE
from evomerge.domain.state import fold
from evomerge.report.figure import Figure, as_csv
from evomerge.report.page import render
from evomerge.report.reading import read_view
from evomerge.store.atomic import make_folder, write_atomic
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.baseline import grid_text
from evomerge.terminal.budget import used_text
from evomerge.terminal.differences import verdict_sentence
from evomerge.views.run import RunView

REPORT = "report.html"
PLOTS = "plots"

_PATH = re.compile(r"(?<![\w.:/-])/(?:[^/\s'\",\]}]+/)+(?=[^/\s'\",\]}])")

_SECTIONS = (
    ("tasks", "Task by task", ("gained-and-lost", "model-by-task", "trade-off")),
    ("course", "How it went", ("best-so-far", "pool-kinship")),
    (
        "search",
        "The search over coefficients",
        ("search-path", "coefficients", "coefficients-and-score", "importance"),
    ),
    ("family", "Who descends from whom", ("family-tree",)),
    ("kin", "Kinship", ("kinship", "kinship-gain", "weight-change")),
)


def write_report(run: RunDirectory, *, plots: bool = True) -> Path:
    """Write `report.html` and, with `plots`, the files of its figures; returns the page's path.

    `plots/models.csv` is the table of all models (`model_rows`).

    Every file is replaced atomically, so that a reader never sees a partial page.

    Raises:
        DamagedError: the journal is damaged.
        StoppedError: the disk is full or failing.
    """
    from evomerge.report.charts import figures_of

    entries = run.read()
    view = read_view(run, entries)
    figures = figures_of(view)
    if plots:
        make_folder(run.path / PLOTS)
        for figure in figures.values():
            for name, content in figure.files().items():
                write_atomic(run.path / PLOTS / name, content)
        table = as_csv(model_rows(entries, fold(entries)))
        write_atomic(run.path / PLOTS / "models.csv", table.encode())
    page = run.path / REPORT
    write_atomic(page, as_page(view, figures))
    return page


def as_page(view: RunView, figures: Mapping[str, Figure]) -> str:
    """The report as an HTML page, deterministic for the same journal."""
    return render("report.html", **content(view, figures))


def content(view: RunView, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """What `report.html` shows; with a function `model_page` names of models become links."""
    sections = [
        (anchor, title, [figures[name] for name in names if name in figures])
        for anchor, title, names in _SECTIONS
    ]
    return {
        "view": view,
        "sections": [each for each in sections if each[2]],
        "written": _date(view.at) if view.recorded is None else "",
        "significance": view.gains.comparisons if view.gains else (),
        "verdicts": [verdict_sentence(each) for each in view.gains.comparisons[:1]]
        if view.gains
        else [],
        "baseline": view.baseline and grid_text(view.baseline),
        "budget": used_text(view.work),
        "rule": RULE,
        "tasks": view.tasks.names if view.tasks else (),
        "rows": sorted(view.models, key=lambda model: (model.rank is None, model.rank or 0)),
        "finalists": [m for m in view.models if m.held_out is not None or m.final is not None],
        "line": sorted((m for m in view.models if m.in_line), key=lambda m: -m.generation),
        "has": _columns(view),
        "export": shlex.join(["evomerge", "export", view.name, "--to", "best-model"]),
        "show": shlex.join(["evomerge", "show", view.name, view.outcome.model or "MODEL"]),
        "settings": portable(view.settings),
        "portable": portable,
    }


def portable(text: str) -> str:
    """A text without the folders of this machine: of an absolute path, only its end is left."""
    return _PATH.sub("…/", text)


def _columns(view: RunView) -> dict[str, bool]:
    """Which optional columns of the table of models have a value."""
    optional = ("held_out", "final", "parents_gain", "kinship", "weights", "perplexity", "density")
    return {name: any(_given(getattr(m, name)) for m in view.models) for name in optional}


def _given(value: object) -> bool:
    return value is not None and value != {}


def _date(at: float | None) -> str:
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
