"""The conclusions of a comparison, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from evomerge.comparison.arms import Arm, Spread
from evomerge.comparison.compared import Comparison, Versus
from evomerge.comparison.divergence import Divergence
from evomerge.comparison.exploration import Exploration, exploration_of
from evomerge.domain.model import Model
from evomerge.terminal import figures
from evomerge.terminal.figures import printable

_NAMED = 3


def verdict(versus: Versus, comparison: Comparison) -> Text:
    """Which arm is ahead, by how much, and at which cost."""
    median = versus.points.median
    points = f"{spread_gain(versus.points)} points" if figures.gain(median) != "0.00" else "equal"
    text = Text.assemble(
        (f"{printable(versus.second)} against {printable(versus.first)}: ", "bold"),
        (points, f"bold {figures.gain_style(median)}"),
        _scores(versus, comparison),
    )
    extra = versus.extra_evaluations
    if extra:
        count = figures.count(abs(extra), "evaluation")
        text.append(f", {count} {'more' if extra > 0 else 'fewer'}")
        if versus.at_equal is not None:
            text.append(f"; at {versus.evaluations} evaluations {spread_gain(versus.at_equal)}")
    if len(versus.paired) > 1:
        text.append(f"; {len(versus.paired)} seeds in pairs", "dim")
    return text


def spread_gain(spread: Spread) -> str:
    """A difference with its range: `+0.41`, `+0.41 (−0.20 to +1.10)`."""
    text = figures.gain(spread.median)
    if spread.low == spread.high:
        return text
    return f"{text} ({figures.gain(spread.low)} to {figures.gain(spread.high)})"


def verdict_sentences(versus: Versus, comparison: Comparison) -> Iterator[str]:
    """Where the arms diverge, and what exploration brought the second one."""
    yield from _divergences(versus)
    arm = next(arm for arm in comparison.arms if arm.label == versus.second)
    explored = exploration_of(arm.median)
    if explored.children:
        yield _exploration(arm, explored)


def _divergences(versus: Versus) -> Iterator[str]:
    """Where the two arms diverge; with several seeds, only the first in full."""
    yield _divergence(versus.divergences[0], versus)
    others = [divergence.generation for divergence in versus.divergences[1:]]
    if others:
        places = sorted({number for number in others if number is not None})
        where = [f"generation {', '.join(map(str, places))}"] if places else []
        where += ["nowhere"] if None in others else []
        count = figures.count(len(others), "other seed")
        yield f"with {count} they diverge in {' or '.join(where)}".replace("in nowhere", "nowhere")


def _divergence(divergence: Divergence, versus: Versus) -> str:
    """Where two runs diverge, and how."""
    if divergence.generation is None:
        return "all their merges are the same"
    where = f"they diverge in generation {divergence.generation}: "
    if divergence.ended is not None:
        label = versus.first if divergence.ended == divergence.first else versus.second
        return f"{where}{label} had ended ({divergence.why})"
    sides = [
        f"only {label} merges {_merges(models)}"
        for label, models in (
            (versus.first, divergence.only_first),
            (versus.second, divergence.only_second),
        )
        if models
    ]
    return f"{where}{figures.count(divergence.shared, 'merge')} in common; {'; '.join(sides)}"


def _exploration(arm: Arm, explored: Exploration) -> str:
    """The gain and cost of exploration in an arm's median run."""
    failed = f" ({explored.failed} failed)" if explored.failed else ""
    line = ", ".join(explored.winning[:_NAMED])
    more = len(explored.winning) - _NAMED
    line += f" and {more} more" if more > 0 else ""
    winner = (
        f"{len(explored.winning)} in the lineage of {arm.median.best.name}: {line}"
        if explored.winning
        else f"none in the lineage of {arm.median.best.name}"
    )
    gains = f"mean gain {figures.gain(explored.gain)}"
    if explored.greedy_gain is not None:
        gains += f", greedy merges {figures.gain(explored.greedy_gain)}"
    return (
        f"exploration: {explored.children} of {explored.offspring} children{failed}, "
        f"{explored.pooled} entered the pool, {winner}; {gains}"
    )


def _scores(versus: Versus, comparison: Comparison) -> str:
    by_label = {arm.label: arm.score.median for arm in comparison.arms}
    ours, theirs = by_label[versus.first], by_label[versus.second]
    return f" ({figures.points(theirs)} against {figures.points(ours)})"


def _merges(models: Sequence[Model]) -> str:
    told = [_merge(model) for model in models[:_NAMED]]
    more = len(models) - _NAMED
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _merge(model: Model) -> str:
    kind = " (exploration)" if model.kind == "exploration" else ""
    return figures.parents(model.parents) + kind
