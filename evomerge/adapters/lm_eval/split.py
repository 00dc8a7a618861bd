"""Which items of a task the search never sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from evomerge.domain.identity import derived_seed

FEWEST_ITEMS = 10
"""A task with fewer items cannot be split: one item more or less would be ten points."""
_MOST_LABELS = 20


def held_out_items(labels: Sequence[str], share: float, seed: int, task: str) -> tuple[int, ...]:
    """The positions of a random share of a task's items, ascending, at least one and not all.

    Where there are few labels (at most 20, of at least two items each on average), each gives
    its share, to within one item: systematic sampling from the items in the order of their
    labels, shuffled within each.

    Args:
        labels: of each item, its right answer as a text.
        share: of the items, between 0 and 1.
        task: its name; tasks with equal items are split differently.
    """
    few = len(Counter(labels)) <= min(_MOST_LABELS, len(labels) // 2)
    rng = Random(derived_seed("split", seed, task))
    drawn = list(range(len(labels)))
    rng.shuffle(drawn)
    if few:
        drawn.sort(key=lambda item: labels[item])
    total = len(labels)
    count = min(max(round(share * total), 1), total - 1)
    taken = (
        item
        for place, item in enumerate(drawn)
        if (place + 1) * count // total > place * count // total
    )
    return tuple(sorted(taken))
