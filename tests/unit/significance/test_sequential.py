"""Racing: how often a model is stopped wrongly, what is saved, and that nothing else decides."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.significance.sequential import course, verdict

BATCHES = (0.125, 0.25, 0.5, 1.0)
ERROR = 0.05
TIMES = 800


def answers(items, only_model, only_reference, both=0.3):
    """Results of a model and a reference on `items` items with exactly these shares of wins."""
    wins, losses = round(items * only_model), round(items * only_reference)
    alike = round(items * both)
    model = [1.0] * wins + [0.0] * losses + [1.0] * alike
    reference = [0.0] * wins + [1.0] * losses + [1.0] * alike
    rest = [0.0] * (items - len(model))
    return model + rest, reference + rest


def world(*tasks):
    """(items, results of the model, of the reference) over tasks made by `answers`."""
    made = [answers(*task) for task in tasks]
    model = {f"t{n}": dict(enumerate(a)) for n, (a, _) in enumerate(made)}
    reference = {f"t{n}": dict(enumerate(b)) for n, (_, b) in enumerate(made)}
    return {name: list(values) for name, values in model.items()}, model, reference


def races(tasks, weights, error=ERROR, times=TIMES):
    """The verdicts of many races of the same two models, each over another order."""
    items, model, reference = world(*tasks)
    return [
        verdict(course(items, BATCHES, seed), model, reference, weights, error)
        for seed in range(times)
    ]


def rate(verdicts):
    return np.mean([each.out for each in verdicts])


@pytest.mark.parametrize(
    ("tasks", "weights", "error"),
    [
        ([(400, 0.15, 0.15)], {"t0": 1}, 0.05),
        ([(400, 0.15, 0.15)], {"t0": 1}, 0.2),
        ([(400, 0.01, 0.01)], {"t0": 1}, 0.05),
        # equal on the whole only: far better on one task, far worse on the other
        ([(160, 0.5, 0.0), (160, 0.0, 0.5), (80, 0.1, 0.1)], {"t0": 1, "t1": 1, "t2": 3}, 0.05),
        ([(300, 0.1, 0.2), (60, 0.3, 0.2)], {"t0": 1, "t1": 1}, 0.05),
    ],
)
def test_a_model_that_would_tie_is_stopped_no_more_often_than_stated(tasks, weights, error):
    """A tie is the hardest case: every better model is stopped more rarely."""
    verdicts = races(tasks, weights, error)
    assert all(abs(each.difference) < 1e-9 for each in verdicts if not each.out)
    assert rate(verdicts) <= error + 3 * math.sqrt(error * (1 - error) / TIMES)


def test_a_better_model_is_hardly_ever_stopped():
    assert rate(races([(400, 0.16, 0.13)], {"t0": 1})) < ERROR / 2


def test_the_false_rejections_are_not_kept_low_by_never_stopping():
    assert rate(races([(400, 0.15, 0.15)], {"t0": 1}, error=0.2)) > 0.05


def test_a_clearly_worse_model_is_stopped_early():
    verdicts = races([(300, 0.05, 0.25), (300, 0.1, 0.2)], {"t0": 1, "t1": 1}, times=200)
    assert rate(verdicts) > 0.99
    assert np.mean([each.saved / each.of for each in verdicts]) > 0.6


def test_the_estimate_is_unbiased_at_a_fixed_look_and_its_error_is_true():
    items, model, reference = world((200, 0.1, 0.25), (100, 0.3, 0.1))
    weights = {"t0": 1.0, "t1": 2.0}
    made = []
    for seed in range(600):
        run = course(items, BATCHES, seed)
        first = run.batch(0)
        known = {task: {i: model[task][i] for i in first.get(task, [])} for task in model}
        made.append(verdict(run, known, reference, weights, 1e-9))
    truth = 100 * (-0.15 + 2 * 0.2) / 3
    found = np.array([each.difference for each in made])
    assert found.mean() == pytest.approx(truth, abs=3 * found.std() / math.sqrt(len(made)))
    assert np.mean([each.stderr for each in made]) == pytest.approx(found.std(), rel=0.1)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_decision_does_not_depend_on_how_much_is_scored_already(data):
    """Full logs from the store and a race stopped at its look give one verdict."""
    result = st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=20, max_size=20)
    model, reference = (
        {"a": dict(enumerate(data.draw(result))), "b": dict(enumerate(data.draw(result)[:9]))}
        for _ in range(2)
    )
    items = {task: list(values) for task, values in model.items()}
    run = course(items, BATCHES, data.draw(st.integers(0, 99)))
    weights, error = {"a": 1.0, "b": data.draw(st.sampled_from([0.5, 1.0, 8.0]))}, 0.3
    whole = verdict(run, model, reference, weights, error)
    scored = {task: {} for task in model}
    for look in range(len(run.looks)):
        for task, batch in run.batch(look).items():
            scored[task] |= {item: model[task][item] for item in batch}
        step = verdict(run, scored, reference, weights, error)
        if step.out:
            break
    assert step == whole


def test_a_model_out_by_arithmetic_is_out_for_certain():
    """The reference solves everything: a single failure cannot be made up for."""
    items, model, _ = world((64, 0.0, 0.5, 0.0))
    reference = {"t0": dict.fromkeys(range(64), 1.0)}
    found = verdict(course(items, BATCHES, 0), model, reference, {"t0": 1}, 1e-6)
    assert (found.out, found.look, found.capital) == (True, 0, math.inf)


def test_at_the_end_nothing_is_guessed():
    items, model, reference = world((40, 0.1, 0.125))
    found = verdict(course(items, (1.0,), 0), model, reference, {"t0": 1}, 0.5)
    assert (found.out, found.saved, found.stderr) == (False, 0, 0.0)
    assert found.difference == pytest.approx(-2.5)


def test_a_course_is_every_item_once_and_the_same_for_everyone():
    items = {"b": [5, 3, 1], "a": range(10)}
    one = course(items, BATCHES, 7)
    assert one == course({"a": list(range(10))[::-1], "b": [1, 3, 5]}, BATCHES, 7)
    assert sorted(one.order) == [*(("a", i) for i in range(10)), ("b", 1), ("b", 3), ("b", 5)]
    assert one.looks == (2, 4, 7, 13)
    batches = [one.batch(look) for look in range(4)]
    assert sum(len(ids) for batch in batches for ids in batch.values()) == 13
    assert one != course(items, BATCHES, 8)
    assert course({"a": [0, 1]}, BATCHES, 0).looks == (1, 2)


@pytest.mark.parametrize("batches", [(), (0.5,), (0.5, 0.5, 1.0), (0.0, 1.0), (1.0, 2.0)])
def test_batches_that_do_not_grow_to_all_are_refused(batches):
    with pytest.raises(ValueError, match="batches"):
        course({"a": [1]}, batches, 0)


def test_too_little_to_decide_on_is_refused():
    items, model, reference = world((40, 0.1, 0.1))
    run = course(items, BATCHES, 0)
    with pytest.raises(ValueError, match="first look"):
        verdict(run, {"t0": {}}, reference, {"t0": 1}, ERROR)
    with pytest.raises(ValueError, match="error rate"):
        verdict(run, model, reference, {"t0": 1}, 0.0)
