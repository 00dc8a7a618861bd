"""The items that selection never sees: a share, the same every time, of every answer its part."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.adapters.lm_eval.split import calibration_items, held_out_items

SHARES = st.floats(0.01, 0.9)
HELD_OUT = (0, 3, 4, 7, 9)
SEEDS = st.integers(0, 2**31 - 1)


@given(st.lists(st.text(max_size=2), min_size=10, max_size=200), SHARES, SEEDS)
def test_it_is_a_share_of_the_items(labels: list[str], share: float, seed: int) -> None:
    taken = held_out_items(labels, share, seed, "task")
    assert taken == held_out_items(labels, share, seed, "task")
    assert list(taken) == sorted(set(taken))
    assert {*taken} <= {*range(len(labels))}
    assert 1 <= len(taken) < len(labels)
    assert abs(len(taken) - share * len(labels)) <= 1


@given(st.lists(st.sampled_from("ABCD"), min_size=10, max_size=200), SHARES, SEEDS)
def test_every_label_gives_its_share(labels: list[str], share: float, seed: int) -> None:
    taken = held_out_items(labels, share, seed, "task")
    there, held_out = Counter(labels), Counter(labels[item] for item in taken)
    for label, count in there.items():
        expected = count * len(taken) / len(labels)
        assert abs(held_out[label] - expected) < 1 + 1e-9


def test_the_seed_and_the_task_choose() -> None:
    labels = ["same"] * 100
    choices = {
        held_out_items(labels, 0.5, seed, task) for seed in range(5) for task in ("one", "two")
    }
    assert len(choices) == 10


def test_the_choice_is_stable() -> None:
    """A change here orphans every evaluation that was paid for: raise the evaluation version."""
    assert held_out_items(["a", "b"] * 5, 0.5, 0, "task") == HELD_OUT


@pytest.mark.parametrize("labels", [["x"] * 40, [str(number) for number in range(40)]])
def test_it_does_not_follow_the_order_of_the_items(labels: list[str]) -> None:
    taken = held_out_items(labels, 0.5, 3, "task")
    steps = {after - before for before, after in pairwise(taken)}
    assert len(steps) > 2


@given(st.lists(st.sampled_from("ABCD"), min_size=10, max_size=200), st.integers(1, 5), SEEDS)
def test_calibration_has_as_many_items_as_are_asked_for(
    labels: list[str], count: int, seed: int
) -> None:
    taken = calibration_items(labels, count, seed, "task")
    assert len(taken) == count
    assert list(taken) == sorted(set(taken))
    assert {*taken} <= {*range(len(labels))}
    assert taken == calibration_items(labels, count, seed, "task")
