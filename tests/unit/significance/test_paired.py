"""Paired comparisons: laws, known values, and what the error rates are when drawn many times."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.domain.objective import Objective
from evomerge.significance import permutation, resampling
from evomerge.significance.holm import holm
from evomerge.significance.intervals import bootstrap_interval, combined
from evomerge.significance.mcnemar import exact_p, tango_interval
from evomerge.significance.paired import Pairs, overall, task_difference

BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
SHARES = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=30
)
OBJECTIVES = (
    Objective(),
    Objective("worst"),
    Objective("geometric"),
    Objective("relative", {"bits": 80.0, "shares": 20.0}),
)
PROBABILITIES = st.lists(st.floats(0, 1), max_size=12)


@pytest.fixture
def fewer_draws(monkeypatch):
    monkeypatch.setattr(permutation, "_DRAWS", 999)
    monkeypatch.setattr(resampling, "_RESAMPLES", 999)


def pairs(rows, task="t", weight=1.0):
    a, b = np.array(rows, dtype=float).T
    return Pairs(task, weight, a, b)


def swapped(one):
    return Pairs(one.task, one.weight, one.b, one.a)


def mirrored(one, other):
    assert one.value == pytest.approx(-other.value, abs=1e-9)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-6)
    assert one.p == other.p
    assert one.items == other.items


@settings(max_examples=12, deadline=None)
@given(BITS, SHARES, st.floats(0.1, 10))
def test_swapping_the_models_changes_signs_and_nothing_else(bits, shares, weight):
    tasks = [pairs(bits, "bits", weight), pairs(shares, "shares")]
    for task in tasks:
        mirrored(task_difference(task).difference, task_difference(swapped(task)).difference)
    for objective in OBJECTIVES:
        turned = [swapped(task) for task in tasks]
        mirrored(overall(tasks, objective), overall(turned, objective))


@given(BITS)
def test_the_interval_holds_the_difference_and_stays_possible(bits):
    one = task_difference(pairs(bits)).difference
    assert -100 <= one.low <= one.value <= one.high <= 100
    assert one.low < one.high, "a handful of equal answers does not make models equal"


def test_equal_models_differ_by_nothing():
    same = task_difference(pairs([(0.25, 0.25), (0.5, 0.5), (1, 1)])).difference
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_mcnemar_by_hand():
    assert exact_p(5, 0) == 2 / 32
    assert exact_p(0, 5) == 2 / 32
    assert exact_p(7, 7) == 1
    assert exact_p(0, 0) == 1
    assert exact_p(12, 2) == pytest.approx(2 * (1 + 14 + 91) / 2**14)


def test_tango_without_discordant_items_is_the_score_interval_of_nothing():
    z2 = 1.959963984540054**2
    assert tango_interval(0, 0, 50) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)))
    low, high = tango_interval(50, 0, 50)
    assert (low, high) == pytest.approx(((50 - z2) / (50 + z2), 1))


def test_one_task_alone_is_its_own_whole():
    task = pairs([(1, 0)] * 9 + [(0, 1)] * 2 + [(1, 1)] * 20)
    assert overall([task]) == task_difference(task).difference
    assert overall([task]).test == "mcnemar"


def test_weights_are_those_of_the_score():
    up, down = pairs([(1, 0)] * 30, "up", 3.0), pairs([(0, 1)] * 30, "down", 1.0)
    assert overall([up, down]).value == pytest.approx(50)


def test_a_reference_scales_what_a_task_brings():
    up, down = pairs([(1, 0)] * 30, "up"), pairs([(0, 1)] * 30, "down")
    relative = Objective("relative", {"up": 50.0, "down": 100.0})
    assert overall([up, down], relative).value == pytest.approx((200 - 100) / 2)
    alone, plain = overall([up], relative), task_difference(up).difference
    assert (alone.low, alone.high) == pytest.approx((2 * plain.low, 2 * plain.high))
    assert (alone.p, alone.test) == (plain.p, "mcnemar")
    nothing = overall([up], Objective("relative", {"up": 0.0}))
    assert (nothing.value, nothing.low, nothing.high, nothing.p) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="reference"):
        overall([up], Objective("relative"))


@pytest.mark.parametrize("name", ["worst", "geometric"])
def test_models_that_agree_on_all_items_need_not_agree_on_others(name):
    tasks = [pairs([(1, 1)] * 20 + [(0, 0)] * 20, task) for task in ("one", "two")]
    same = overall(tasks, Objective(name))
    assert (same.value, same.p) == (0, 1)
    assert -10 < same.low < 0 < same.high < 10


@pytest.mark.parametrize("rows", [(np.ones(2), np.ones(3)), (np.ones(0), np.ones(0))])
def test_unpaired_items_are_refused(rows):
    with pytest.raises(ValueError, match="items against"):
        Pairs("t", 1.0, *rows)


def test_combining_one_interval_leaves_it():
    assert combined([0.2], [(0.1, 0.5)], [1.0]) == pytest.approx((0.1, 0.5))
    low, high = combined([0.0, 0.0], [(-1.0, 2.0), (-1.0, 2.0)], [0.5, 0.5])
    assert (low, high) == pytest.approx((-math.sqrt(0.5), math.sqrt(2.0)))


@given(PROBABILITIES)
def test_holm_keeps_the_order_and_never_flatters(values):
    corrected = holm(values)
    assert all(0 <= p <= q <= 1 for p, q in zip(values, corrected, strict=True))
    assert all(q <= min(1, len(values) * p) for p, q in zip(values, corrected, strict=True))
    ranked = [q for _, q in sorted(zip(values, corrected, strict=True))]
    assert ranked == sorted(ranked)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]


def drawn(rng, items, only_a, only_b):
    """Answers of two models: `only_a` is the chance that a alone is right."""
    luck = rng.random(items)
    a = (luck < only_a) | (luck > 0.7)
    b = ((luck >= only_a) & (luck < only_a + only_b)) | (luck > 0.7)
    return a.astype(float), b.astype(float)


def rates(simulate, times):
    """(share of p below 0.05, below 0.2, share of intervals that hold the truth)."""
    made = [simulate() for _ in range(times)]
    p = np.array([one.p for one, _ in made])
    held = [one.low - 1e-9 <= truth <= one.high + 1e-9 for one, truth in made]
    return (p < 0.05).mean(), (p < 0.2).mean(), np.mean(held)


@pytest.mark.usefixtures("fewer_draws")
@pytest.mark.parametrize(
    "tasks",
    [
        [(120, 0.2, 0.2)],  # McNemar's test is exact, so its p may be too large, never too small
        [(120, 0.2, 0.2), (80, 0.2, 0.2), (200, 0.03, 0.03)],
        [(120, 0.4, 0.0), (120, 0.0, 0.4), (60, 0.02, 0.02)],  # equal on the whole only
    ],
)
def test_of_equal_models_one_in_twenty_seems_different_and_no_more(tasks):
    rng = np.random.default_rng(7)

    def simulate():
        return overall([Pairs(str(i), 1.0, *drawn(rng, *one)) for i, one in enumerate(tasks)]), 0.0

    at_5, at_20, held = rates(simulate, 400)
    tolerance = 3 * math.sqrt(0.05 * 0.95 / 400)
    assert at_5 <= 0.05 + tolerance
    assert at_20 <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / 400)
    assert held >= 0.95 - tolerance
    if len(tasks) > 1:
        assert at_5 >= 0.05 - tolerance
        assert at_20 >= 0.2 - 3 * math.sqrt(0.2 * 0.8 / 400)


@pytest.mark.usefixtures("fewer_draws")
def test_intervals_hold_a_true_gain_as_often_as_they_say():
    rng = np.random.default_rng(8)

    def simulate():
        tasks = [
            Pairs("easy", 2.0, *drawn(rng, 150, 0.25, 0.1)),
            Pairs("hard", 1.0, *drawn(rng, 90, 0.02, 0.05)),
        ]
        return overall(tasks), 100 * (2 * 0.15 - 0.03) / 3

    assert rates(simulate, 400)[2] >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


def answers(rng, items, chances_a, chances_b, alike):
    """Answers on tasks where a model's chance is given; items are as hard for both, mostly."""
    tasks = []
    for number, (one, two) in enumerate(zip(chances_a, chances_b, strict=True)):
        luck = rng.random(items)
        other = np.where(rng.random(items) < alike, luck, rng.random(items))
        right = (luck < one).astype(float), (other < two).astype(float)
        tasks.append(Pairs(str(number), 1.0, *right))
    return tasks


@pytest.mark.usefixtures("fewer_draws")
@pytest.mark.parametrize("name", ["worst", "geometric", "relative"])
@pytest.mark.parametrize(
    ("items", "a", "b", "alike"),
    [
        (50, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.9),  # every task is the weakest one
        (200, (0.4, 0.8, 0.6), (0.8, 0.4, 0.6), 0.5),  # level on the whole, not on any task
        (100, (0.6, 0.65, 0.9), (0.4, 0.6, 0.95), 0.5),
        (50, (0.05, 0.6, 0.7), (0.05, 0.6, 0.7), 0.5),  # a task with hardly a point
    ],
)
def test_the_error_rates_of_every_objective(name, items, a, b, alike):
    rng = np.random.default_rng(11)
    reference = {"0": 60.0, "1": 60.0, "2": 60.0} if name == "relative" else None
    objective, times = Objective(name, reference), 200
    over = objective.over(["0", "1", "2"], [1.0] * 3)
    truth = over.value([100 * x for x in a]) - over.value([100 * x for x in b])

    def simulate():
        return overall(answers(rng, items, a, b, alike), objective), truth

    at_5, at_20, held = rates(simulate, times)
    assert held >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / times)
    if truth == pytest.approx(0):
        assert at_5 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / times)
        assert at_20 <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / times)
    else:
        assert at_5 > 0.5, "a difference that is there is mostly found"


def test_the_bootstrap_holds_a_skewed_mean():
    rng = np.random.default_rng(9)
    truth = 0.2 - 1 / 6
    held = []
    for _ in range(100):
        differences = rng.beta(1, 4, 60) - rng.beta(1, 5, 60)
        low, high = bootstrap_interval(differences, seed=3)
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 100)


def test_the_same_seed_gives_the_same_numbers():
    rng = np.random.default_rng(10)
    task = Pairs("t", 1.0, rng.random(50), rng.random(50))
    assert task_difference(task, seed=4) == task_difference(task, seed=4)
