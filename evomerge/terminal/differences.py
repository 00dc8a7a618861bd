"""Comparisons of models as text: better, worse, or possibly noise."""

from __future__ import annotations

from evomerge.domain.difference import Difference, Gains, ModelComparison
from evomerge.domain.objective import TITLES
from evomerge.domain.scores import Split

_SPLITS: dict[Split, str] = {
    "held_out": "on held-out items, which were not used for selection",
    "final": "on tasks that were not used for selection",
    "selection": "on the items that selected the best model: its gain is overestimated and its p "
    "value too small",
}
ITEMS: dict[Split, str] = {
    "held_out": "held-out items",
    "final": "final tasks",
    "selection": "selection items",
}
"""What the items of a split are called."""


def split_note(split: Split) -> str:
    """The compared items, and how selecting on them biases the result."""
    return _SPLITS[split]


def gains_line(gains: Gains) -> str:
    """A run's gains on one line: the best model against the best foundation model."""
    if not gains.comparisons:
        return "nothing could be compared: " + "; ".join(gains.missing[:1])
    first, *others = gains.comparisons
    by = "" if gains.objective == "mean" else f", {TITLES[gains.objective]}"
    text = f"{verdict_sentence(first)} ({ITEMS[gains.split]}{by})"
    doubtful = [each.b for each in others if not each.certain]
    return text + (f"; over {', '.join(doubtful)} it may be noise" if doubtful else "")


def verdict_sentence(comparison: ModelComparison) -> str:
    """One sentence about a comparison; p is Holm-corrected."""
    each, d = comparison, comparison.difference
    p = "p < 0.001" if each.corrected < 0.001 else f"p = {each.corrected:.3f}"
    if each.certain:
        word = "better" if d.value > 0 else "worse"
        return f"{each.a} is {word} than {each.b} by {abs(d.value):.1f} points {_turned(d)}, {p}"
    what = "gain" if d.value >= 0 else "loss"
    return f"the {what} of {each.a} over {each.b} may be noise: {d.value:+.1f} {interval(d)}, {p}"


def interval(d: Difference) -> str:
    """The confidence interval: `[-1.0, +3.3]`."""
    return f"[{d.low:+.1f}, {d.high:+.1f}]"


def _turned(d: Difference) -> str:
    """The interval of the difference's size, for a sentence that says better or worse."""
    low, high = (d.low, d.high) if d.value >= 0 else (-d.high, -d.low)
    return f"[{low:.1f}, {high:.1f}]"
