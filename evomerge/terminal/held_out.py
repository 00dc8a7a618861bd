"""Selection scores beside held-out and final scores, and warnings about evaluations."""

from __future__ import annotations

from rich.text import Text

from evomerge.domain.model import Failure, Model
from evomerge.domain.scores import Split
from evomerge.domain.state import RunState
from evomerge.domain.warnings import warning_summaries
from evomerge.terminal import figures
from evomerge.terminal.columns import Column, Fitted, numbers, words
from evomerge.terminal.figures import printable, spelled
from evomerge.terminal.sentences import SPLITS
from evomerge.terminal.tables import FAILURE, name_text, perplexity_columns
from evomerge.views.outcome import best_over_foundation

SEEN = "scores are measured on the selection items (evaluation.split is none)"


def held_out_table(state: RunState) -> Fitted:
    """The best and the foundation models: selection score, held-out score and their gap.

    Perplexity, if there is a guard, is that of the selection split: its text is the same.
    """
    models = [model for model in state.finalists if model.held_out]
    perplexity = perplexity_columns(models)
    model = words("at the end", (name_text(m, bold=m is state.best) for m in models))
    seen = numbers("selection", (figures.score(m) for m in models))
    gaps = numbers("gap", (figures.gain(m.selection_gap) for m in models))
    held_out, final = (_split(models, split) for split in ("held_out", "final"))
    columns = [model, seen]
    columns += [held_out, gaps] if "held_out" in state.start.held_out_splits else []
    columns += [final] if "final" in state.start.held_out_splits else []
    return Fitted([*columns, *perplexity], columns, columns[:-1])


def held_out_text(state: RunState) -> Text | None:
    """The best model's held-out score, gap and gain; None if the run has no held-out split."""
    if state.best is None:
        return None
    if "held_out" not in state.start.held_out_splits:
        return Text(SEEN, style="yellow")
    held_out = state.best.estimate("held_out")
    if held_out is None:
        failure = state.best.held_out.get("held_out")
        waiting = "scored at the end of the search"
        if isinstance(failure, Failure):
            return spelled(f"failed: {failure.reason}", FAILURE)
        return Text(waiting, "dim")
    text = Text(figures.points(*held_out))
    gap = figures.gain(state.best.selection_gap)
    text.append(f"  gap {gap}", "").append("  ")
    gain = held_out_gain(state)
    if gain is not None:
        over, value = gain
        text.append(figures.gain(value), figures.gain_style(value))
        text.append(f" over {printable(over.name)}", "dim")
    return text


def held_out_gain(state: RunState) -> tuple[Model, float] | None:
    """The best foundation model, and the best model's held-out gain over it in points.

    Both were chosen by their selection scores.
    """
    over = best_over_foundation(state)
    if over is None or state.best is None or over[0] is state.best:
        return None
    ours, theirs = state.best.estimate("held_out"), over[0].estimate("held_out")
    return None if ours is None or theirs is None else (over[0], ours.value - theirs.value)


def warnings_text(state: RunState) -> Text | None:
    """One line for each kind of evaluation warning; None if there are no warnings."""
    said = warning_summaries(state.models.values())
    return Text("\n".join(map(printable, said)), style="yellow") if said else None


def _split(models: list[Model], split: Split) -> Column:
    cells = []
    for model in models:
        failed = isinstance(model.held_out.get(split), Failure)
        cells.append(spelled("failed", FAILURE) if failed else spelled(figures.score(model, split)))
    return numbers(SPLITS[split], cells)
