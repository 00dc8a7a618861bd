"""Tables of held-out evaluation and of paired significance tests."""

from __future__ import annotations

from evomerge.domain.difference import ModelComparison
from evomerge.domain.model import Model
from evomerge.domain.scores import Split
from evomerge.domain.state import RunState
from evomerge.report.subject import Z95
from evomerge.report.wording import minus, points

_SPLITS: tuple[tuple[Split, str], ...] = (("held_out", "held-out"), ("final", "final tasks"))


def held_out_rows(state: RunState) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: selection score, held-out scores, gap; ([], []) without such scores."""
    models = [model for model in state.ranking if model.held_out]
    parts = [(split, head) for split, head in _SPLITS if any(m.on(split) for m in models)]
    if not parts:
        return [], []
    rows = []
    for model in models:
        cells = [model.name, *(_score(model, split) for split in ("selection", *dict(parts)))]
        rows.append([*cells, "" if model.selection_gap is None else minus(model.selection_gap)])
    return ["model", "selection", *(head for _, head in parts), "gap"], rows


def gain_rows(state: RunState) -> list[dict[str, str]]:
    """The paired tests of the best model, one row each."""
    return [] if state.gains is None else [_row(each) for each in state.gains.comparisons]


def _row(each: ModelComparison) -> dict[str, str]:
    found = each.difference
    sure = "significant" if each.certain else "not significant"
    p = "< 0.001" if each.corrected < 0.001 else f"{each.corrected:.3f}"
    return {
        "against": f"{each.b} ({each.relation})",
        "gain": minus(found.value) if found.value < 0 else f"+{found.value:.2f}",
        "interval": f"{minus(found.low)} to {minus(found.high)}",
        "p": p,
        "items": str(found.items),
        "verdict": sure,
        "style": "" if not each.certain else "up" if found.value > 0 else "down",
    }


def _score(model: Model, split: Split) -> str:
    estimate = model.estimate(split)
    if estimate is None:
        return points(None)
    return points(estimate.value, None if estimate.stderr is None else Z95 * estimate.stderr)
