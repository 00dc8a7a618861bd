"""What "better" means: closed forms, laws, standard errors, and the fold of a run."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evomerge.domain.digest import decisions
from evomerge.domain.events import (
    CandidateFailed,
    HeldOutFailed,
    HeldOutScored,
    ModelScored,
    RunStarted,
)
from evomerge.domain.kinship import Metric
from evomerge.domain.model import Failure, Foundation
from evomerge.domain.objective import Objective, Worth
from evomerge.domain.scores import Scores, TaskScore
from evomerge.domain.state import Entry, fold
from evomerge.significance.combination import values

NAMES = ("mean", "worst", "relative", "geometric")
REFERENCE = {"a": 80.0, "b": 40.0, "c": 20.0}
points = st.floats(0, 100)
weights = st.floats(0.1, 10)


def tasks(scores, own_weights=(1, 1, 1), errors=(None, None, None)):
    return [
        TaskScore(task=name, metric="acc", value=v, samples=100, weight=w, stderr=e)
        for name, v, w, e in zip("abc", scores, own_weights, errors, strict=True)
    ]


def objective(name, reference=None):
    return Objective(name, (reference or REFERENCE) if name == "relative" else None)


def value(name, scores, own_weights=(1, 1, 1), reference=None):
    return objective(name, reference).estimate(tasks(scores, own_weights)).value


def test_closed_forms():
    assert value("mean", (10, 70, 40)) == 40
    assert value("mean", (10, 70, 40), (1, 3, 1)) == 52
    assert value("worst", (10, 70, 40)) == 10
    assert value("relative", (80, 20, 30)) == pytest.approx(100 * (1 + 0.5 + 1.5) / 3)
    assert value("relative", (80, 20, 30), (2, 1, 1)) == pytest.approx(100 * (2 + 0.5 + 1.5) / 4)
    assert value("geometric", (10, 80, 27)) == pytest.approx((10 * 80 * 27) ** (1 / 3))
    assert value("geometric", (10, 40, 90), (1, 2, 1)) == pytest.approx((10 * 1600 * 90) ** 0.25)


def test_the_error_of_the_mean():
    scores = tasks((10, 70, 30), (1, 3, 1), errors=(3, 4, 0))
    assert Objective().estimate(scores) == (50, pytest.approx(math.hypot(3, 12) / 5))


def test_a_task_of_half_the_weight_counts_with_half_of_what_it_lacks():
    assert value("worst", (60, 40, 90), (1, 0.5, 1)) == 60
    assert value("worst", (60, 10, 90), (1, 0.5, 1)) == 55
    assert value("worst", (60, 10, 90), (4, 2, 4)) == 55, "only the proportions matter"


def test_nothing_can_be_kept_where_nothing_was():
    reference = {"a": 50.0, "b": 0.0, "c": 25.0}
    assert value("relative", (50, 90, 25), reference=reference) == 100
    assert value("relative", (25, 0, 50), reference=reference) == 125
    assert value("relative", (25, 0, 50), reference={"a": 0.0}) == 0


def test_a_task_without_a_point_has_nothing_in_common_with_the_others():
    assert value("geometric", (0, 90, 90)) == 0
    scores = tasks((0, 90, 90), errors=(1, 1, 1))
    assert Objective("geometric").estimate(scores).stderr is None


@given(st.tuples(points, points, points), st.tuples(weights, weights, weights))
def test_laws(scores, own_weights):
    found = {name: value(name, scores, own_weights) for name in NAMES}
    assert found["geometric"] <= found["mean"] + 1e-9
    assert value("worst", scores) <= value("geometric", scores) + 1e-9
    for name in NAMES:
        better = tuple(min(100.0, each + 7.0) for each in scores)
        assert value(name, better, own_weights) >= found[name] - 1e-9
        scaled = tuple(3 * weight for weight in own_weights)
        assert value(name, scores, scaled) == pytest.approx(found[name])
        turned = objective(name).estimate(tasks(scores, own_weights)[::-1]).value
        assert turned == pytest.approx(found[name])


@given(points)
def test_one_task_is_the_score_itself(score):
    task = tasks((score, 0, 0))[:1]
    for name in ("mean", "worst", "geometric"):
        assert Objective(name).estimate(task).value == score
    assert Objective("relative", {"a": 100.0}).estimate(task).value == pytest.approx(score)


@given(st.lists(st.tuples(points, points, points), min_size=1, max_size=5))
def test_many_rows_at_once_are_each_on_its_own(rows):
    for name in NAMES:
        over = objective(name).over(["a", "b", "c"], [1.0, 2.0, 0.5])
        assert values(over, np.array(rows).T) == pytest.approx([over.value(row) for row in rows])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("scores", "errors"),
    [
        ((50.0, 60.0, 70.0), (2.0, 3.0, 1.0)),
        ((50.0, 50.0, 50.0), (2.0, 2.0, 2.0)),
        ((40.0, 42.0, 45.0), (1.0, 4.0, 6.0)),
        ((40.0, 40.0, 80.0), (0.0, 0.0, 5.0)),
    ],
)
def test_the_standard_error_is_what_draws_scatter(name, scores, errors):
    rng = np.random.default_rng(1)
    drawn = rng.normal(scores, errors, (40_000, 3)).T
    over = objective(name).over(["a", "b", "c"], [1.0, 2.0, 1.0])
    scatter = values(over, drawn).std()
    assert over.stderr(scores, errors) == pytest.approx(scatter, rel=0.05, abs=1e-9)


@given(st.floats(1, 99), st.floats(1, 99), st.floats(0.1, 5))
def test_the_lowest_scatters_no_more_than_what_it_is_made_of(first, second, error):
    assume(abs(first - second) > 1e-6)
    found = Objective("worst").over(["a", "b"], [1, 1]).stderr((first, second), (error, error))
    assert 0.8 * error < found <= error * (1 + 1e-9)


def test_an_unknown_error_makes_the_whole_unknown():
    for name in NAMES:
        assert objective(name).estimate(tasks((1, 2, 3), errors=(1, None, 1))).stderr is None
    left_out = {"a": 50.0, "b": 0.0, "c": 25.0}
    found = Objective("relative", left_out).estimate(tasks((1, 2, 3), errors=(1, None, 1)))
    assert found.stderr == pytest.approx(math.hypot(100 / 50, 100 / 25) / 2)


def started(name):
    one = Foundation(name="base", source="base", content_id="base", vocabulary=1)
    return RunStarted(
        name="run",
        seed=0,
        k=2,
        strategy="greedy",
        metric=Metric.PCC,
        base=one,
        foundation=tuple(one.model_copy(update={"name": n, "content_id": n}) for n in ("x", "y")),
        config_id="c",
        objective=name,
        held_out_splits=("held_out",),
    )


def scored(model, *scores):
    return ModelScored(
        model=model, scores=Scores(evaluation_id="e", tasks=tuple(tasks(scores))), seconds=1.0
    )


def held_out(model, *scores):
    found = Scores(evaluation_id="h", tasks=tuple(tasks(scores)))
    return HeldOutScored(model=model, split="held_out", scores=found, seconds=1.0)


def after(*events):
    return fold(Entry(at=float(n), event=event) for n, event in enumerate(events))


def test_the_fold_judges_by_the_objective_of_the_run():
    x, y = scored("x", 90, 60, 30), scored("y", 40, 45, 50)
    ranking = {name: after(started(name), x, y).best.name for name in NAMES}
    assert ranking == {"mean": "x", "worst": "y", "relative": "x", "geometric": "x"}
    state = after(started("worst"), x, y)
    assert [model.score for model in state.ranking] == [40, 30]


@pytest.mark.parametrize("name", ["worst", "geometric"])
def test_of_models_that_all_lack_a_skill_the_better_on_the_whole_comes_first(name):
    state = after(started(name), scored("x", 0, 0, 95), scored("y", 0, 60, 60))
    assert [model.score for model in state.ranking] == [0, 0]
    assert [model.name for model in state.ranking] == ["y", "x"]
    level = after(started("mean"), scored("x", 0, 0, 60), scored("y", 0, 30, 30))
    assert [model.name for model in level.ranking] == ["x", "y"], "of the mean by name, as ever"


def test_a_skill_more_is_an_improvement_where_the_score_stands_at_nothing():
    better = Worth(0.0, 40.0)
    assert better.exceeds(Worth(0.0, 20.0), by=0.0)
    assert not better.exceeds(Worth(0.0, 20.0), by=20.0)
    assert not better.exceeds(Worth(0.1, 0.0), by=0.0)
    assert Worth(0.1, 0.0).exceeds(better, by=0.0)
    assert not Worth(0.1, 90.0).exceeds(better, by=0.1)


def test_shares_are_known_when_all_foundation_models_are_scored():
    x, y = scored("x", 80, 20, 30), scored("y", 40, 40, 60)
    half = after(started("relative"), x)
    assert half.models["x"].score is None
    state = fold([Entry(at=2.0, event=y)], half)
    assert state == after(started("relative"), x, y), "a prefix and then the rest is all"
    assert state.models["x"].score == pytest.approx(100 * (1 + 0.5 + 0.5) / 3)
    assert state.models["y"].score == pytest.approx(100 * (0.5 + 1 + 1) / 3)
    gone = CandidateFailed(
        model="y", failure=Failure(stage="evaluation", reason="out of memory", attempts=2)
    )
    assert after(started("relative"), x, gone).models["x"].score == pytest.approx(100)


def test_held_out_scores_have_a_reference_of_their_own():
    run = [started("relative"), scored("x", 80, 20, 30), scored("y", 40, 40, 60)]
    half = after(*run, held_out("x", 40, 10, 30))
    assert half.models["x"].estimate("held_out") is None
    state = after(*run, held_out("x", 40, 10, 30), held_out("y", 50, 20, 30))
    assert state.models["x"].estimate("held_out").value == pytest.approx(100 * (0.8 + 0.5 + 1) / 3)
    seen, unseen = state.models["x"].score, state.models["x"].estimate("held_out").value
    assert state.models["x"].selection_gap == pytest.approx(seen - unseen)
    failed = HeldOutFailed(
        model="y",
        split="held_out",
        failure=Failure(stage="evaluation", reason="killed", attempts=1),
    )
    alone = after(*run, held_out("x", 40, 10, 30), failed)
    assert alone.models["x"].estimate("held_out").value == pytest.approx(100)


def test_a_run_can_be_judged_by_another_objective():
    events = [scored("x", 90, 60, 30), scored("y", 40, 45, 50)]
    mean, worst = (after(started(name), *events) for name in ("mean", "worst"))
    assert mean.under("worst") == worst
    assert worst.under("mean") == mean
    assert mean.under("relative").models["x"].score == pytest.approx(100 * (1 + 1 + 0.6) / 3)


def test_the_digest_names_an_objective_that_is_not_the_mean():
    assert "objective" not in decisions(after(started("mean")))
    assert decisions(after(started("worst")))["objective"] == "worst"


def test_a_journal_that_does_not_say_so_has_the_mean():
    old = started("worst").model_dump(mode="json")
    del old["objective"], old["skill_kept_at"]
    assert RunStarted.model_validate(old).objective == "mean"
