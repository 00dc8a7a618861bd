"""The comparison of runs, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

from evomerge.comparison.arms import Arm, Spread
from evomerge.comparison.budgets import UNITS, Budget, Unit
from evomerge.comparison.compared import Comparison, Versus
from evomerge.domain.difference import Gains
from evomerge.domain.model import Model
from evomerge.domain.objective import MEANINGS
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.baseline import grid_text
from evomerge.terminal.columns import Column, Fitted, numbers, words
from evomerge.terminal.differences import split_note
from evomerge.terminal.figures import MISSING, printable, spelled
from evomerge.terminal.gains import verdict as gain_verdict
from evomerge.terminal.skills import kept_means, lost_list
from evomerge.terminal.tables import (
    KEPT_OUT,
    gain_text,
    kinship_text,
    name_text,
    perplexity_columns,
)
from evomerge.terminal.verdicts import verdict, verdict_sentences
from evomerge.views.comparison import ArmRow, arms_of

_ROWS = 6  # merges of one generation that are listed


class ComparisonView:
    """The full comparison: arms, equal budgets, each arm against the first, all merges."""

    def __init__(self, comparison: Comparison, winners: Gains | None = None) -> None:
        self._comparison = comparison
        self._winners = winners

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        comparison = self._comparison
        yield title(comparison)
        yield ""
        yield arms_table(comparison)
        for sentence in lost_sentences(comparison):
            yield Text(printable(sentence), style="dim")
        if comparison.baseline is not None:
            yield Text(printable(f"baseline: {grid_text(comparison.baseline)}"))
        for caveat in comparison.caveats:
            yield Text(f"note: {printable(caveat)}", style="yellow")
        for versus in comparison.versus:
            yield ""
            yield from _versus(versus, comparison)
        if self._winners is not None:
            yield ""
            yield from _significance(self._winners)
        if comparison.budgets:
            yield ""
            yield budgets_table(comparison)
        yield ""
        yield merges_table(comparison.arms)


def title(comparison: Comparison) -> Text:
    """The number of arms and runs, and the tasks that they were scored on."""
    arms, runs = len(comparison.arms), len(comparison.members)
    scores = comparison.members[0].best.scores
    tasks = ", ".join(task.task for task in scores.tasks) if scores else ""
    text = Text("comparison", style="bold", no_wrap=True, overflow="ellipsis")
    counted = f"{figures.count(arms, 'arm')}, {figures.count(runs, 'run')}"
    by = "" if comparison.objective == "mean" else f" by {MEANINGS[comparison.objective]}"
    return text.append(f"  {counted}, scored on {printable(tasks)}{by}", style="not bold dim")


def arms_table(comparison: Comparison) -> Fitted:
    """One row per arm; with repeats, medians and the range of the best score."""
    arms = arms_of(comparison)
    top = max(arm.score.median for arm in arms)
    label = words("arm", (spelled(arm.label, _bold(arm.score.median == top)) for arm in arms))
    runs = numbers("runs", (str(len(arm.runs)) for arm in arms))
    best = words("best", (name_text(arm.median.best) for arm in comparison.arms))
    score = numbers("score", (score_text(arm.score, arm.error) for arm in arms))
    gain = numbers("gain", (_arm_gain(arm) for arm in arms))
    known = any(arm.held_out for arm in arms)
    held_out = [
        numbers(
            "held-out",
            (score_text(arm.held_out, arm.held_out_error) for arm in arms),
        )
    ]
    skills = [
        numbers("skills", (_skills(arm) for arm in arms)),
        *perplexity_columns([arm.median.best for arm in comparison.arms]),
    ]
    evaluations = numbers("evaluations", (f"{arm.evaluations.median:g}" for arm in arms))
    merges = numbers("merges", (f"{arm.merges.median:g}" for arm in arms))
    work = numbers("work", (hours_text(arm.work_hours) for arm in arms))
    spent = numbers("spent", (hours_text(arm.spent_hours) for arm in arms))
    reused = numbers("reused", (f"{arm.reused.median:g}" for arm in arms))
    ended = words("ended by", (spelled(arm.ended_by or "not finished", "dim") for arm in arms))
    cost = [evaluations, merges, work, spent]
    seen = [score, *(held_out if known else []), gain, *skills]
    return Fitted(
        [label, runs, best, *seen, *cost, reused, ended],
        [label, runs, best, *seen, *cost, reused],
        [label, best, *seen, *cost],
        [label, best, score, *(held_out if known else []), *skills, evaluations, spent],
        [label, score, *(held_out if known else []), evaluations],
    )


def score_text(spread: Spread | None, error: float | None = None) -> str:
    """A score with half its 95 % interval, or with its range where repeats differ."""
    text = _spread_points(spread)
    return text if error is None or spread is None else f"{text} ± {error:.1f}"


def hours_text(spread: Spread | None) -> str:
    """A median duration."""
    return MISSING if spread is None else figures.duration(3600 * spread.median)


def budgets_table(comparison: Comparison) -> Fitted:
    """The best score of each arm at equal budgets."""
    budgets = [
        budget
        for unit in UNITS
        for budget in _few([b for b in comparison.budgets if b.unit == unit], unit)
    ]
    amounts = words("at equal budgets", (_amount(b.unit, b.amount) for b in budgets))
    columns = [
        numbers(
            arm.label,
            (spelled(_spread_points(b.best[place]), _bold(_leads(b.best, place))) for b in budgets),
        )
        for place, arm in enumerate(comparison.arms)
    ]
    return Fitted([amounts, *columns])


def merges_table(arms: Sequence[Arm], rows_each: int | None = _ROWS) -> Fitted:
    """The merges of every arm's median run by generation, best first.

    Args:
        rows_each: rows of one generation at most; all merges if None.
    """
    states = [arm.median.state for arm in arms]
    last = max(len(state.generations) for state in states) - 1
    rows: list[tuple[str, list[Model | int | None]]] = []
    for number in range(last + 1):
        columns = [_listed(state, number, rows_each) for state in states]
        for place in range(max(map(len, columns))):
            cells = [column[place] if place < len(column) else None for column in columns]
            rows.append((str(number) if place == 0 else "", cells))
    generation = numbers("gen", (number for number, _ in rows))
    full: list[Column] = [generation]
    brief: list[Column] = [generation]
    for place, (arm, state) in enumerate(zip(arms, states, strict=True)):
        cells = [models[place] for _, models in rows]
        name = words(arm.label, (_name(cell, arm.median.best) for cell in cells))
        score = numbers("score", (_score(cell) for cell in cells))
        gain = numbers("over parents", (_gain(cell, state) for cell in cells))
        kin = numbers("kin", (_kinship(cell, state) for cell in cells))
        full += [name, score, gain, kin]
        brief += [name, score]
    return Fitted(full, brief)


def _amount(unit: Unit, value: float) -> str:
    """A budget as text: `14 evaluations`, `3.2 h of work`."""
    if unit == "hours":
        return f"{figures.duration(value * 3600)} of work"
    return figures.count(int(value), unit[:-1])


def _spread_points(spread: Spread | None) -> str:
    """A score, with its range where repeats differ: `71.30 (70.10–72.00)`."""
    if spread is None:
        return MISSING
    text = figures.points(spread.median)
    if spread.low == spread.high:
        return text
    return f"{text} ({spread.low:.2f}–{spread.high:.2f})"


def _few(budgets: list[Budget], unit: Unit) -> list[Budget]:
    """Every quarter of the evaluations; of the other units, half and all."""
    return budgets if unit == "evaluations" else budgets[1::2]


def _versus(versus: Versus, comparison: Comparison) -> Iterator[RenderableType]:
    yield verdict(versus, comparison)
    for sentence in verdict_sentences(versus, comparison):
        yield Padding(Text(printable(sentence)), (0, 0, 0, 2), expand=False)


def _significance(winners: Gains) -> Iterator[RenderableType]:
    """The significance tests between the arms' best models."""
    yield Text("winners on the same items", style="dim")
    for each in winners.comparisons:
        yield Padding(gain_verdict(each), (0, 0, 0, 2), expand=False)
    for missing in winners.missing:
        yield Padding(Text(printable(missing), style="dim"), (0, 0, 0, 2), expand=False)
    if winners.comparisons:
        yield Padding(Text(split_note(winners.split), style="dim"), (0, 0, 0, 2), expand=False)


def _skills(arm: ArmRow) -> str:
    """How many skills the best model of an arm's median run keeps, of how many: `3/5`."""
    return MISSING if arm.skills is None else f"{arm.skills.kept}/{len(arm.skills.tasks)}"


def lost_sentences(comparison: Comparison) -> list[str]:
    """What the skills of the arms are, and which ones were lost, a sentence for each arm."""
    known = [(arm.label, arm.skills) for arm in arms_of(comparison) if arm.skills]
    lost = [f"{label} lost {lost_list(skills)}" for label, skills in known if skills.lost]
    return [f"skills: {kept_means(known[0][1])}", *lost] if lost else []


def _arm_gain(arm: ArmRow) -> Text:
    value = arm.gain.value if arm.gain else None
    return spelled(figures.gain(value), figures.gain_style(value))


def _bold(yes: bool) -> str:
    return "bold" if yes else ""


def _leads(best: Sequence[Spread | None], place: int) -> bool:
    own = best[place]
    known = [spread.median for spread in best if spread is not None]
    return own is not None and own.median == max(known) and min(known) < own.median


def _listed(state: RunState, number: int, rows: int | None) -> list[Model | int]:
    """The best models of a generation, and how many more it has."""
    if number >= len(state.generations):
        return []
    born = sorted(state.at_generation(number), key=lambda m: (not m.selectable, -(m.score or 0.0)))
    if rows is None or len(born) <= rows:
        return [*born]
    return [*born[: rows - 1], len(born) - rows + 1]


def _name(cell: Model | int | None, best: Model) -> Text:
    if cell is None:
        return Text("")
    if isinstance(cell, int):
        return spelled(f"and {cell} more", "dim")
    return name_text(cell, bold=cell.name == best.name)


def _score(cell: Model | int | None) -> Text:
    if not isinstance(cell, Model):
        return Text("")
    if cell.failure is not None:
        return spelled("failed", "red")
    text = spelled(figures.points(cell.score))
    return text.append(f" {KEPT_OUT}", "red") if cell.kept_out else text


def _gain(cell: Model | int | None, state: RunState) -> Text:
    return gain_text(cell, state) if isinstance(cell, Model) and cell.parents else Text("")


def _kinship(cell: Model | int | None, state: RunState) -> Text:
    return kinship_text(cell, state) if isinstance(cell, Model) and cell.parents else Text("")
