"""What merges learn from: who answers for which task, its identity, and the anchor."""

import pytest

from evomerge.breeding import Breeding, answering
from evomerge.config import Config
from evomerge.domain.errors import PreflightError
from evomerge.domain.model import Coefficients, Foundation, Model, Proposal
from evomerge.domain.scores import Scores, TaskScore
from evomerge.execution.calibration import anchor_text, calibration_of
from evomerge.execution.evaluation import Evaluation
from evomerge.strategies.seed_grid import GRID

BASE = Foundation(name="base", source="base", content_id="files1-base", vocabulary=8)
EVALUATION = Evaluation(ids={"selection": "e"}, counted={}, calibration="items1-1")


def model(name, **values):
    tasks = tuple(
        TaskScore(task=task, metric="acc", value=value, samples=10)
        for task, value in values.items()
    )
    scores = Scores(evaluation_id="e", tasks=tasks) if tasks else None
    return Model(name, "foundation", 0, f"files1-{name}", scores=scores)


def config(**parameters):
    return Config.model_validate(
        {
            "run": {"name": "run"},
            "base_model": "base",
            "foundation_models": ["a", "b", "c"],
            "merge": {"method": "regmean_pp", "parameters": parameters},
            "evaluation": {"tasks": ["x"], "split": {"calibration": 8}},
        }
    )


def breeding(calibration="calibration1-1", **parameters):
    merge = config(**parameters).merge
    return Breeding(merge, 0, BASE, (BASE,), "mergekit 0", calibration)


PARENTS = (model("a", x=50.0, y=10.0), model("b", x=20.0, y=10.0), model("c", x=0.0, y=5.0))


def test_the_best_on_a_task_answers_for_it_and_equals_together():
    assert answering(PARENTS) == (("x", "y"), ("y",), ())
    assert answering((model("a", x=0.0), model("b", x=0.0))) == (("x",), ("x",))
    assert answering((model("a"), model("b", x=1.0))) == ((), ("x",))


def test_nobody_answers_for_a_task_that_none_of_them_can_do():
    holders = (model("h", x=90.0, y=90.0, z=0.0),)
    able = (model("a", x=80.0, y=40.0, z=0.0), model("b", x=10.0, y=44.0, z=0.0))
    assert answering(able, holders) == (("x", "z"), ("z",))
    assert answering(able) == (("x", "z"), ("y", "z"))
    helpless = (model("a", x=8.0), model("b", x=9.0))
    assert answering(helpless, holders) == ((), ("x",))


def test_a_recipe_says_who_answers_for_what():
    made = breeding(ridge=0.01).of_config(PARENTS[:2])
    assert [parent.parameters for parent in made.parents] == [
        {"weight": 1.0, "tasks": ["x", "y"]},
        {"weight": 1.0, "tasks": ["y"]},
    ]
    assert made.parameters == {"ridge": 0.01}
    assert made.calibration in made.of_task_vectors.inputs
    assert made.inputs == ("files1-base", made.task_vectors)


def test_weights_of_a_strategy_are_over_the_same_task_vectors():
    chosen = Coefficients.at((0.5, 1.1, 0.0), None).disentangled("regmean_pp")
    proposal = Proposal(
        parents=("a", "b", "c"), kind=GRID.name, reason="", mean_score=0.0, coefficients=chosen
    )
    weighed, given = breeding().recipe(proposal, PARENTS), breeding().of_config(PARENTS)
    assert [parent.parameters["weight"] for parent in weighed.parents] == [0.5, 1.1, 0.0]
    assert weighed.task_vectors == given.task_vectors
    assert weighed.id != given.id
    assert breeding("calibration1-2").of_config(PARENTS).task_vectors != given.task_vectors
    assert "calibration" not in breeding(None).of_config(PARENTS).model_dump()


def test_another_anchor_is_another_calibration(tmp_path):
    (tmp_path / "anchor.txt").write_text("Some plain text.")
    ids = {
        calibration_of(config(anchor=str(each)), EVALUATION)
        for each in ("default", "none", tmp_path / "anchor.txt")
    }
    assert len({each.content_id for each in ids}) == 3
    assert {(each.items, each.anchored) for each in ids} == {(8, True), (8, False)}
    assert len(str(anchor_text(config().merge)).split()) > 500
    assert anchor_text(config(anchor="none").merge) is None
    wudi = Config.model_validate({**config().model_dump(), "merge": {"method": "wudi"}})
    assert calibration_of(wudi, EVALUATION) is None


def test_an_anchor_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, what in (("empty", "is empty"), ("binary", "UTF-8"), ("missing", "cannot be read")):
        with pytest.raises(PreflightError, match=what):
            anchor_text(config(anchor=str(tmp_path / name)).merge)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"evaluation": {"tasks": ["x"]}}, "merge.method"),
        ({"merge": {"method": "regmean_pp", "tokenizer": "union"}}, "merge.tokenizer"),
    ],
)
def test_a_config_that_gives_it_nothing_to_learn_from_is_refused(change, where):
    with pytest.raises(ValueError, match=where.replace(".", r"\.")):
        Config.model_validate({**config().model_dump(exclude_unset=True), **change})
