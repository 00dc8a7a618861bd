"""Skills kept: by the best model, by any model, by a pool; on which items, and in words."""

import pytest

from evomerge.domain.events import HeldOutScored, ModelScored, RunResumed, RunStarted
from evomerge.domain.kinship import Metric
from evomerge.domain.model import Foundation
from evomerge.domain.scores import Scores, TaskScore
from evomerge.domain.skills import lost_skills, skills_of
from evomerge.domain.state import Entry, fold
from evomerge.terminal.documents import skills_brief
from evomerge.terminal.skills import kept_means, kept_sentence, lost_list
from evomerge.views.run import meaning

NAMES = ("ash", "birch", "cedar")
POINTS = {"ash": (90, 81, 10), "birch": (80, 90, 2), "cedar": (10, 20, 95)}


def scores(values):
    tasks = (
        TaskScore(task=f"t{i}", metric="acc", value=v, samples=9) for i, v in enumerate(values)
    )
    return Scores(evaluation_id="e", tasks=tuple(tasks))


def run(*events, k=1, kept_at=0.8):
    base = Foundation(name="base", source="base", content_id="base", vocabulary=1)
    started = RunStarted(
        name="run",
        seed=0,
        k=k,
        strategy="greedy",
        metric=Metric.PCC,
        base=base,
        foundation=tuple(base.model_copy(update={"name": n, "content_id": n}) for n in NAMES),
        config_id="c",
        skill_kept_at=kept_at,
    )
    scored = [ModelScored(model=n, scores=scores(p), seconds=0.0) for n, p in POINTS.items()]
    return fold(Entry(at=0.0, event=event) for event in (started, *scored, *events))


def held_out(name, values):
    return HeldOutScored(model=name, split="held_out", scores=scores(values), seconds=0.0)


def test_a_skill_is_kept_from_a_share_of_the_best_foundation_model():
    skills = skills_of(run())
    assert (skills.model, skills.split, skills.kept) == ("ash", "selection", 2)
    assert [(each.holder, each.kept) for each in skills.tasks] == [
        ("ash", True),
        ("birch", True),
        ("cedar", False),
    ]
    assert lost_list(skills) == "t2 10.0 of 95.0"
    assert kept_sentence(skills) == ("2 of 3 kept, selection items (lost: t2 10.0 of 95.0)")
    assert skills_of(run(kept_at=0.95)).kept == 1
    assert skills_of(run(kept_at=0.1)).kept == 3
    assert skills_of(run(RunResumed(skill_kept_at=0.95))).kept == 1


def test_held_out_items_count_as_soon_as_all_are_scored_there():
    best, others = held_out("ash", (50, 60, 90)), [held_out(n, (60, 60, 95)) for n in NAMES[1:]]
    assert skills_of(run(best)).split == "selection"
    assert skills_of(run(best, others[0])).split == "selection"
    skills = skills_of(run(best, *others))
    assert (skills.split, skills.kept) == ("held_out", 3)
    assert kept_sentence(skills) == "3 of 3 kept, held-out items"
    assert "80 % of the best foundation model's score, on held-out items" in kept_means(skills)


def test_any_model_may_be_asked_for():
    state = run()
    assert [each.task for each in skills_of(state, state.models["cedar"]).lost] == ["t0", "t1"]


def test_a_pool_keeps_what_one_of_it_keeps():
    (lost,) = lost_skills(run(k=2))
    assert (lost.task, lost.holder, lost.best, lost.value) == ("t2", "cedar", 95, 10)
    assert lost_skills(run(k=3)) == ()


def test_nothing_is_said_before_the_foundation_models_are_scored():
    state = fold([Entry(at=0.0, event=run().start)])
    assert skills_of(state) is None
    assert lost_skills(state) == ()
    half = ModelScored(model="ash", scores=scores((1, 2, 3)), seconds=0.0)
    assert skills_of(fold([Entry(at=0.0, event=half)], state)) is None


@pytest.mark.parametrize("kept_at", [0.8, 1.0])
def test_a_skill_that_nobody_has_is_not_lost(kept_at):
    empty = [ModelScored(model=n, scores=scores((0,)), seconds=0.0) for n in NAMES]
    state = fold(Entry(at=0.0, event=e) for e in (run(kept_at=kept_at).start, *empty))
    assert skills_of(state).lost == ()


def test_a_task_that_no_foundation_model_scores_on_is_named():
    state = run().under("relative")
    assert meaning(state.objectives["selection"]).endswith("on each task, in percent")
    events = [ModelScored(model=n, scores=scores((50, 0)), seconds=0.0) for n in NAMES]
    relative = run().start.model_copy(update={"objective": "relative"})
    state = fold(Entry(at=0.0, event=e) for e in (relative, *events))
    assert meaning(state.objectives["selection"]).endswith("no foundation model scores: t1")
    assert state.best.score == 100


def test_the_document_has_every_task():
    found = skills_brief(skills_of(run()))
    assert found["kept"] == 2
    assert found["tasks"][2] == {
        "task": "t2", "holder": "cedar", "best": 95.0, "value": 10.0, "kept": False
    }  # fmt: skip
