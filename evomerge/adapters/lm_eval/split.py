"""Random choice of a task's items: those held out, and those for calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from evomerge.domain.identity import derived_seed

FEWEST_ITEMS = 10
"""A task with fewer items cannot be split: one item would count ten points or more."""
_MOST_LABELS = 20


def held_out_items(labels: Sequence[str], share: float, seed: int, task: str) -> tuple[int, ...]:
    """The indices of a random share of a task's items, ascending, at least one and not all.

    Args:
        labels: each item's answer as a text.
        share: of the items, between 0 and 1.
        task: its name, which is part of the seed.
    """
    total = len(labels)
    count = min(max(round(share * total), 1), total - 1)
    return _drawn(labels, count, Random(derived_seed("split", seed, task)))


def calibration_items(labels: Sequence[str], count: int, seed: int, task: str) -> tuple[int, ...]:
    """The indices of `count` random items, ascending; see `held_out_items`."""
    return _drawn(labels, count, Random(derived_seed("calibration", seed, task)))


def _drawn(labels: Sequence[str], count: int, rng: Random) -> tuple[int, ...]:
    """The indices of `count` random items, ascending.

    With few labels (at most 20, of at least two items each on average) the sample is stratified:
    each label gets its share, to within one item, by systematic sampling from the items sorted by
    label and shuffled within each.
    """
    total = len(labels)
    few = len(Counter(labels)) <= min(_MOST_LABELS, total // 2)
    drawn = list(range(total))
    rng.shuffle(drawn)
    if few:
        drawn.sort(key=lambda item: labels[item])
    taken = (
        item
        for place, item in enumerate(drawn)
        if (place + 1) * count // total > place * count // total
    )
    return tuple(sorted(taken))
