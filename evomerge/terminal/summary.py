"""The summary that is shown when a driver ends."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.text import Text

from evomerge.domain.baseline import Baseline, baseline_of
from evomerge.domain.lineage import ancestors, lineage
from evomerge.domain.skills import skills_of
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.baseline import baseline_sentence
from evomerge.terminal.budget import budget_text
from evomerge.terminal.differences import gains_line
from evomerge.terminal.guard import guard_sentence
from evomerge.terminal.held_out import (
    held_out_table,
    held_out_text,
    warnings_text,
)
from evomerge.terminal.panel import facts_table
from evomerge.terminal.skills import kept_sentence
from evomerge.terminal.tables import generations_table, kind_style, pool_table
from evomerge.terminal.tree import lineage_tree
from evomerge.views.outcome import best_over_foundation
from evomerge.views.run import meaning

_LEAVES = 12  # longest lineage expression that is printed on one line


def summary(state: RunState) -> RenderableType:
    """The summary when a driver ends, whether or not the run is finished.

    Best model, gain over the best foundation model, counts, generations, pool, and the best
    model's lineage.
    """
    if state.started is None:
        return Text("nothing is recorded yet", style="dim")
    parts: list[RenderableType] = [
        Text.assemble((figures.printable(state.start.name), "bold"), "  ", _ending(state)),
        facts_table(outcome_facts(state, baseline_of(state))),
    ]
    if any(generation.pool is not None for generation in state.generations):
        parts += ["", generations_table(state)]
    if state.pool:
        parts += ["", pool_table(state)]
    if state.held_out_evaluations:
        parts += ["", held_out_table(state)]
    if state.best is not None and state.best.parents:
        parts += ["", Text("lineage of the best", style="dim")]
        parts.append(lineage_tree(state, state.best.name))
    return Group(*parts)


def outcome_facts(state: RunState, baseline: Baseline | None = None) -> list[tuple[str, Text]]:
    """The best model, its held-out score and gains, the counts of work, and warnings."""
    held_out, warned = held_out_text(state), warnings_text(state)
    facts = [("best", best_text(state))]
    if state.start.objective != "mean":
        facts.append(("score is", Text(figures.printable(meaning(state.objectives["selection"])))))
    facts += [("held-out", held_out)] if held_out is not None else []
    if state.gains is not None:
        facts.append(("gain", Text(figures.printable(gains_line(state.gains)))))
    if (skills := skills_of(state)) is not None:
        facts.append(("skills", Text(figures.printable(kept_sentence(skills)))))
    if (guard := guard_sentence(state)) is not None:
        facts.append(("guard", Text(figures.printable(guard))))
    if (learnt := state.start.calibration) is not None:
        facts.append(("merges", Text(learnt.sentence)))
    if baseline is not None:
        facts.append(("baseline", Text(figures.printable(baseline_sentence(baseline, state)))))
    facts.append(("work", counts_text(state)))
    if used := budget_text(state):
        facts.append(("budget", Text(used)))
    if state.reused_merges + state.reused_evaluations + state.reused_held_out:
        facts.append(("reused", Text(_reused_text(state))))
    facts += [("warnings", warned)] if warned is not None else []
    return facts


def _reused_text(state: RunState) -> str:
    parts = [
        f"{state.reused_merges} of {figures.count(state.merges, 'merge')}",
        f"{state.reused_evaluations} of {figures.count(state.evaluations, 'evaluation')}",
    ]
    if state.held_out_evaluations:
        parts.append(f"{state.reused_held_out} of {state.held_out_evaluations} held-out")
    return ", ".join(parts)


def result_text(state: RunState, baseline: Baseline | None = None, tree: str | None = None) -> str:
    """The result of a run for stdout: the best model, its lineage, and the stopping reason.

    One line for each fact. A lineage that is too long for one line is replaced by a hint at
    `evomerge tree`.

    Args:
        tree: that command; default: for a run of the default runs folder.
    """
    if state.best is None:
        return "no model is scored yet"
    name, run = state.best.name, figures.printable(state.start.name)
    ancestry = lineage(name, state.models, _LEAVES)
    if ancestry is None:
        count = figures.count(len(ancestors(name, state.models)), "ancestor")
        ancestry = f"{count}: {tree or shlex.join(['evomerge', 'tree', run])}"
    facts = [*outcome_facts(state, baseline), ("lineage", Text(figures.printable(ancestry)))]
    if state.stop is not None:
        facts.append(("stop", Text(figures.printable(state.stop))))
    return "\n".join(f"{label:<8} {value.plain}" for label, value in facts)


def best_text(state: RunState) -> Text:
    """The best model so far, its score, and its gain over the best foundation model."""
    best, over = state.best, best_over_foundation(state)
    if best is None or over is None:
        return Text("no model is scored yet", style="dim")
    text = Text(figures.printable(best.name), style=f"bold {kind_style(best)}")
    text = Text.assemble(text, f"  {figures.score(best)}  ")
    foundation, gain = over
    if foundation is best:
        return text.append("the best foundation model", "dim")
    text.append(figures.gain(gain), figures.gain_style(gain))
    other = f" over {figures.printable(foundation.name)} ({figures.points(foundation.score)})"
    return text.append(other, "dim")


def counts_text(state: RunState) -> Text:
    """The number of merges, evaluations and failures, and the time they took."""
    failures = state.models.failures
    parts = [
        figures.count(len(state.generations) - 1, "generation"),
        figures.count(state.merges, "merge"),
        figures.count(state.evaluations, "evaluation"),
    ]
    if state.held_out_evaluations:
        parts.append(f"{state.held_out_evaluations} held-out")
    text = Text(", ".join(parts))
    if failures:
        text.append(", ").append(f"{failures} failed", "red")
    if state.skipped:
        text.append(", ").append(f"{figures.count(len(state.skipped), 'merge')} skipped", "yellow")
    return text.append(f", {figures.duration(state.seconds)}")


def _ending(state: RunState) -> Text:
    if state.finished:
        return Text(figures.printable(f"finished: {state.stop}"), style="green")
    open_models = len(state.unscored)
    where = f"stopped in generation {len(state.generations) - 1}"
    return Text(f"{where}, {open_models} to score" if open_models else where, style="yellow")
