"""Racing: stop scoring a model when it will not beat a reference, wrongly so at a stated rate only.

The reference was scored on all items. The model is scored on them in an order drawn beforehand, and
at a few looks it is asked whether its score on *all* items can still exceed the reference's. As
items are drawn without replacement, that is a question about a finite set of numbers, and it is
answered exactly, without a normal approximation.

The test bets (Waudby-Smith & Ramdas 2024, *Estimating means of bounded random variables by
betting*, JRSS B 86:1–27, section 4: sampling without replacement). A capital of one is staked item
by item on the model's falling behind. Would the model in fact reach the reference, the capital
could not be expected to grow, so that it ever exceeds 1/error with probability `error` at most
(Ville's inequality). So there is nothing to correct for several looks, and the order in which a
batch is scored does not matter: the drawn order counts.

A z test with alpha spending stops close races after up to 40 % fewer items, and held its rate in
our simulations; it rests on normality, though, which no one can promise for few items that differ,
other metrics and unequal weights. Races that are not close cost both the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evomerge.domain.identity import derived_seed

Floats: TypeAlias = NDArray[np.float64]
Item = tuple[str, int]
"""A task and the position of an item in it."""
Results = Mapping[str, Mapping[int, float]]
"""Results in [0, 1] by task and item."""

_STAKES = np.array([0.1, 0.25, 0.5, 0.85])
"""Shares of the largest bet that cannot lose everything; the capital is spread evenly over them."""
_TINY = 1e-12


@dataclass(frozen=True)
class Course:
    """The order in which items are scored, and where it is asked whether to go on.

    Attributes:
        order: every item once, over all tasks; a uniformly drawn permutation.
        looks: how many items are scored at each look, growing; the last one is all of them.
    """

    order: tuple[Item, ...]
    looks: tuple[int, ...]

    def batch(self, look: int) -> dict[str, list[int]]:
        """The items that look number `look` (from 0) needs beyond the ones before it, sorted."""
        start = self.looks[look - 1] if look else 0
        found: dict[str, list[int]] = {}
        for task, item in self.order[start : self.looks[look]]:
            found.setdefault(task, []).append(item)
        return {task: sorted(items) for task, items in found.items()}


def course(items: Mapping[str, Iterable[int]], batches: Sequence[float], seed: int) -> Course:
    """Draw a course; the same items and seed give the same one, whatever their order.

    Args:
        items: of each task.
        batches: shares of all items at which it is asked, growing, the last one 1.

    Raises:
        ValueError: there is no item, or `batches` are not shares that grow to 1.
    """
    order = [(task, item) for task in sorted(items) for item in sorted(set(items[task]))]
    growing = all(a < b for a, b in itertools.pairwise(batches))
    if not batches or not growing or batches[0] <= 0 or batches[-1] != 1:
        raise ValueError(f"batches grow from above 0 to 1, not {list(batches)}")
    if not order:
        raise ValueError("no item to race over")
    Random(derived_seed("race", seed)).shuffle(order)
    looks = dict.fromkeys(math.ceil(share * len(order) - _TINY) for share in batches)
    return Course(tuple(order), tuple(looks))


@dataclass(frozen=True)
class Verdict:
    """What the items scored so far say.

    Attributes:
        out: the model will not exceed the reference; scoring may stop.
        look: the first look at which it was out, else the last one that could be taken.
        items: scored at that look.
        of: items in all.
        difference: estimate of the model's score minus the reference's, in points; exact where
            all items are scored.
        stderr: of that estimate, 0 where all items are scored.
        capital: the largest so far; `out` means at least 1/error. Infinite where no result on the
            remaining items could still help.
    """

    out: bool
    look: int
    items: int
    of: int
    difference: float
    stderr: float
    capital: float

    @property
    def saved(self) -> int:
        """Items that need not be scored."""
        return self.of - self.items if self.out else 0


def verdict(
    run: Course,
    model: Results,
    reference: Results,
    weights: Mapping[str, float],
    error: float,
) -> Verdict:
    """Ask at every look that `model` has results for, in turn, until it is out.

    It is the same whether `model` holds all results or only those up to the deciding look: a
    decision does not depend on how much was scored already.

    Args:
        reference: results on every item of the course.
        weights: of the tasks in the score.
        error: the probability, at most, of `out` for a model whose score on all items exceeds the
            reference's.

    Raises:
        ValueError: not even the first look's items are scored, or the error is no probability.
        KeyError: the reference has no result for an item.
    """
    if not 0 < error < 1:
        raise ValueError(f"an error rate lies between 0 and 1, not at {error}")
    scales = _scales(run, weights)
    known = _known(run, model)
    if known < run.looks[0]:
        raise ValueError(f"{known} items are scored, the first look needs {run.looks[0]}")
    scale = np.array([scales[task] for task, _ in run.order])
    theirs = np.array([reference[task][item] for task, item in run.order])
    ours = np.array([model[task][item] for task, item in run.order[:known]])
    gains = scale[:known] * (ours - theirs[:known])
    hope = np.cumsum((scale * (1.0 - theirs))[::-1])[::-1]
    capital = _capital(gains, len(run.order), float(scale.max()), np.append(hope[1:], 0.0)[:known])
    largest = np.maximum.accumulate(capital)
    taken = [number for number, count in enumerate(run.looks) if count <= known]
    early = [number for number in taken if run.looks[number] < len(run.order)]
    outs = [number for number in early if largest[run.looks[number] - 1] >= 1.0 / error]
    look = outs[0] if outs else taken[-1]
    return _verdict(run, look, bool(outs), gains, float(largest[run.looks[look] - 1]))


def _verdict(run: Course, look: int, out: bool, gains: Floats, capital: float) -> Verdict:
    count, total = run.looks[look], len(run.order)
    seen = gains[:count]
    spread = float(seen.var(ddof=1)) if count > 1 else 0.0
    return Verdict(
        out=out,
        look=look,
        items=count,
        of=total,
        difference=100.0 * float(seen.mean()),
        stderr=100.0 * math.sqrt(spread / count * (1.0 - count / total)),
        capital=capital,
    )


def _scales(run: Course, weights: Mapping[str, float]) -> dict[str, float]:
    """What an item of each task counts, so that the mean over all items is the score."""
    counts: dict[str, int] = {}
    for task, _ in run.order:
        counts[task] = counts.get(task, 0) + 1
    total = math.fsum(weights[task] for task in counts)
    return {task: weights[task] / total * len(run.order) / count for task, count in counts.items()}


def _known(run: Course, model: Results) -> int:
    """How many items of the course, from its start, have a result."""
    for place, (task, item) in enumerate(run.order):
        if item not in model.get(task, {}):
            return place
    return len(run.order)


def _capital(gains: Floats, total: int, bound: float, hope: Floats) -> Floats:
    """The capital after each item.

    Before each item the null hypothesis says what the mean of the remaining gains is at least:
    what makes up for the loss so far. The bet pays where the next gain is below that.

    Args:
        gains: in [-bound, bound], in the drawn order.
        total: items in all.
        hope: the most that the items after each one can still bring.
    """
    places = np.arange(len(gains))
    before = np.concatenate([[0.0], np.cumsum(gains)[:-1]])
    needed = -before / (total - places)
    lost = before + gains + hope <= _TINY * total
    safe = needed <= -bound  # the null hypothesis is certain: nothing is left to bet on
    needed = np.clip(needed, -bound, bound * (1.0 - 1e-9))
    stakes = _STAKES[None, :] / (bound - needed)[:, None]
    factors = 1.0 - stakes * (gains - needed)[:, None]
    factors[safe] = 1.0
    logs = np.cumsum(np.log(np.maximum(factors, 1e-300)), axis=0)
    peak = logs.max(axis=1)
    capital = np.exp(np.minimum(peak, 700.0)) * np.exp(logs - peak[:, None]).mean(axis=1)
    capital[np.maximum.accumulate(lost)] = math.inf
    return np.asarray(capital)
