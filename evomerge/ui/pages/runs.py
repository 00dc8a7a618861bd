"""All runs of the folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from evomerge.analysis.budget import BudgetUse, budget_use
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.ui.site import Site
from evomerge.ui.watching import Seen
from evomerge.views.outcome import RunOutcome, outcome_of

_DOING = {"merge": "merging", "score": "scoring", "kinship": "measuring kinship of"}
_HEIGHT, _WIDTH = 22.0, 100.0


@dataclass(frozen=True)
class RunRow:
    """A run in the table.

    Attributes:
        doing: the work in progress; empty if none is.
        progress: where the search is.
        spark: the best score so far, as points of a polyline in a box of 100 × 24.
    """

    seen: Seen
    strategy: str
    outcome: RunOutcome | None
    use: BudgetUse | None
    doing: str
    progress: str
    spark: str


def page(request: Request) -> Response:
    """`/`."""
    site: Site = request.app.state.site
    version = site.version(None)
    runs = site.folder.runs()
    phases = Counter(seen.phase for seen in runs)
    return site.page(
        request,
        "runs.html",
        rows=[_row(seen) for seen in runs],
        tally=", ".join(f"{number} {phase}" for phase, number in sorted(phases.items())),
        version_of_all=version,
    )


def _row(seen: Seen) -> RunRow:
    state = seen.state
    return RunRow(
        seen,
        state.started.strategy if state.started else figures.MISSING,
        outcome_of(state) if state.started else None,
        budget_use(state) if state.started else None,
        doing(seen),
        progress(state),
        spark(state),
    )


def doing(seen: Seen) -> str:
    """The work in progress in a few words."""
    if not seen.underway:
        return ""
    first, more = seen.underway[0], len(seen.underway) - 1
    share = f" {100 * first.done // first.total} %" if first.total > 0 else ""
    what = f"{_DOING.get(first.activity, first.activity)} {first.model}{share}"
    return what + (f" and {more} more" if more else "")


def progress(state: RunState) -> str:
    """Where a search is: its generation, and how many of its models are done."""
    if not state.generations:
        return "not begun"
    if state.finished:
        return f"{figures.count(len(state.generations) - 1, 'generation')}"
    number = len(state.generations) - 1
    born = state.at_generation(number)
    done = sum(model.scores is not None or model.failure is not None for model in born)
    return f"generation {number}, {done} of {len(born)}"


def spark(state: RunState) -> str:
    """The best score so far by model; empty for fewer than two scored models."""
    best: list[float] = []
    for model in state.models.values():
        if model.selectable and model.score is not None:
            best.append(max(model.score, best[-1] if best else model.score))
    if len(best) < 2:
        return ""
    low, high = best[0], best[-1]
    across, up = _WIDTH / (len(best) - 1), _HEIGHT / (high - low or 1.0)
    return " ".join(f"{i * across:.1f},{23 - (y - low) * up:.1f}" for i, y in enumerate(best))
