"""Significance tests between models as a table and as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from evomerge.domain.difference import Difference, Gains, ModelComparison
from evomerge.domain.objective import MEANINGS
from evomerge.terminal import figures
from evomerge.terminal.columns import Fitted, numbers, words
from evomerge.terminal.differences import interval, split_note, verdict_sentence
from evomerge.terminal.figures import MISSING, spelled


def gains_panel(gains: Gains, by_task: bool = False, chosen: bool = False) -> RenderableType:
    """The table, its interpretation, and the models that could not be compared.

    Args:
        by_task: also show one row per task.
        chosen: the user named the models, so no selection bias has to be noted.
    """
    parts: list[RenderableType] = []
    if gains.comparisons:
        parts += [gains_table(gains.comparisons, by_task), ""]
        parts += [verdict(each) for each in _telling(gains.comparisons)]
        parts += [Text(note, style="dim") for note in _notes(gains, by_task, chosen)]
    else:
        parts.append(Text("nothing could be compared", style="yellow"))
    parts += [Text(f"left out: {figures.printable(each)}", "yellow") for each in gains.missing]
    return Group(*parts)


def gains_table(comparisons: Sequence[ModelComparison], by_task: bool = False) -> Fitted:
    """One row per comparison: difference in points, 95 % interval, p, corrected p."""
    rows = [row for each in comparisons for row in _rows(each, by_task)]
    differences = [difference for *_, difference, _ in rows]
    a = words("model", (spelled(name) for name, *_ in rows))
    b = words("against", (spelled(name) for _, name, *_ in rows))
    task = words("task", (spelled(name) for _, _, name, *_ in rows))
    value = numbers(
        "difference",
        (spelled(figures.gain(d.value), figures.gain_style(d.value)) for d in differences),
    )
    bounds = numbers("95 % interval", (interval(d) for d in differences))
    p = numbers("p", (probability(d.p) for d in differences))
    corrected = numbers("corrected", (row[-1] for row in rows))
    items = numbers("items", (spelled(str(d.items), "dim") for d in differences))
    named = [a, b, task] if by_task else [a, b]
    return Fitted(
        [*named, value, bounds, p, corrected, items],
        [*named, value, bounds, p, corrected],
        [*named[1:], value, bounds, corrected],
    )


def _rows(each: ModelComparison, by_task: bool) -> list[tuple[str, str, str, Difference, Text]]:
    style = "" if each.certain else "yellow"
    whole = spelled(probability(each.corrected), style)
    rows = [(each.a, each.b, "all", each.difference, whole)]
    if by_task:
        rows += [("", "", t.task, t.difference, spelled(MISSING, "dim")) for t in each.tasks]
    return rows


def verdict(comparison: ModelComparison) -> Text:
    """One sentence: better, worse, or possibly noise."""
    text = verdict_sentence(comparison)
    if not comparison.certain:
        return spelled(text, "yellow")
    return spelled(text, "green" if comparison.difference.value > 0 else "red")


def probability(p: float) -> str:
    """A p value: three decimals, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _telling(comparisons: Sequence[ModelComparison]) -> list[ModelComparison]:
    """The first (against the best foundation model), and all others without a clear gain."""
    first, *others = comparisons
    doubtful = [each for each in others if not each.certain or each.difference.value < 0]
    return [first, *doubtful]


def _notes(gains: Gains, by_task: bool, chosen: bool) -> list[str]:
    notes = [] if chosen and gains.split != "held_out" else [split_note(gains.split)]
    if gains.objective != "mean":
        notes.append(f"differences are of {MEANINGS[gains.objective]}")
    if len(gains.comparisons) > 1:
        notes.append(f"p corrected by Holm's method over {len(gains.comparisons)} comparisons")
    if by_task:
        notes.append("p of single tasks are not corrected")
    return notes
