"""The arena's arithmetic: whose score counts at a mark, and arms that are what they say."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from evomerge.domain.model import Model
from evomerge.domain.population import Population
from evomerge.domain.scores import Scores, TaskScore, solved_items
from evomerge.domain.state import RunState

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def arena():
    """The modules of the package, which is run as a folder and is on no path otherwise."""
    folder = str(ROOT / "scripts" / "bench" / "arena")
    sys.path.insert(0, folder)
    try:
        yield {name: importlib.import_module(name) for name in ("fixtures", "arms", "table")}
    finally:
        sys.path.remove(folder)
        for name in ("fixtures", "arms", "table"):
            sys.modules.pop(name)


def scored(right):
    task = TaskScore(
        task="t",
        metric="acc",
        value=100.0 * sum(right) / len(right),
        samples=len(right),
        solved=solved_items(right),
    )
    return Scores(evaluation_id="e", tasks=(task,))


def model(name, generation, *right):
    return Model(name, "greedy", generation, name, merged=True, scores=scored(right))


def test_the_winner_at_a_mark_is_the_best_of_the_children_until_then(arena):
    members = [
        model("a", 0, True, False, False, False),
        model("model-1-1", 1, False, False, False, False),
        model("model-1-2", 1, True, True, False, False),
        model("model-2-1", 2, True, True, True, False),
        model("model-2-2", 2, True, True, True, False),
    ]
    state = RunState(models=Population.of(members))
    found = arena["arms"].winners(state, (1, 2, 3, 40))
    assert [each.name for each in found.values()] == ["a", "model-1-2", "model-2-1", "model-2-1"]


def test_a_search_that_is_worse_than_greedy_is_told_so(arena, tmp_path):
    table, arms = arena["table"], arena["arms"]
    right = [True] * 60 + [False] * 40
    states = {
        "ties-greedy": RunState(models=Population.of([model("g", 1, *right)])),
        "ties-kinship": RunState(
            models=Population.of([model("k", 1, *([False] * 30), *right[30:])])
        ),
    }
    held_out = {each.name: each.scores for s in states.values() for each in s.models.values()}
    played = table.Played(arena["fixtures"].Fixture(0, tmp_path), states, held_out)
    (test,) = table._tests([arms.Arm("greedy"), arms.Arm("kinship")], [played], 40)
    assert test["value"] == pytest.approx(-30.0)
    assert test["high"] < 0
    assert test["p_corrected"] < 0.001


@pytest.mark.parametrize("size", ["quick", "full"])
def test_every_arm_has_a_name_and_a_config_of_its_own(arena, tmp_path, size):
    arms = arena["arms"].arms_of(size)
    fixture = arena["fixtures"].Fixture(1, tmp_path)
    configs = [arm.config(fixture, 40) for arm in arms]
    assert len({arm.name for arm in arms}) == len(arms)
    assert len({(c.strategy.model_dump_json(), c.merge.model_dump_json()) for c in configs}) == len(
        arms
    )
    split = configs[0].evaluation.split.held_out
    assert round(split * fixture.recipe.items) == 1000


def test_half_of_the_fixtures_are_hard_and_half_of_them_of_each_family(arena, tmp_path):
    fixtures = [arena["fixtures"].Fixture(number, tmp_path) for number in range(4)]
    kinds = {(each.family, each.hard) for each in fixtures}
    assert kinds == {(family, hard) for family in ("mistral", "qwen2") for hard in (True, False)}


def test_a_fixture_that_one_tensor_explains_is_unfair(arena):
    skills = list(arena["fixtures"].tiny.SKILLS)
    fair = {
        "scores": {
            name: {task: 95.0 if task == name else 5.0 for task in skills}
            for name in ("base", *skills)
        },
        "one_tensor_of_each": 10.0,
        "one_embedding_row_of_each": 5.0,
        "task_arithmetic_of_all": {"0.5": 80.0},
    }
    faults = arena["fixtures"]._faults
    assert not list(faults(fair))
    assert list(faults(fair | {"one_tensor_of_each": 60.0})) == [
        "one tensor of each brings 60, a whole merge 80"
    ]
    fair["scores"][skills[0]][skills[1]] = 50.0
    assert list(faults(fair)) == [f"{skills[0]} has 50 on {skills[1]}"]


def test_unfair_fixtures_are_told_of_and_others_take_their_place(arena, tmp_path, monkeypatch):
    fixtures = arena["fixtures"]
    told = {0: [], 1: ["a fault"], 2: ["a fault"], 3: []}
    monkeypatch.setattr(fixtures.Fixture, "make", lambda self: {"faults": told[self.number]})
    found, controls = fixtures.fair(2, tmp_path)
    assert [each.number for each in found] == [0, 3]
    assert [each["faults"] for each in controls.values()] == list(told.values())


def test_the_command_starts():
    """As a user calls it: with nothing on the path but its own folder."""
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "arena"), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "--report" in told.stdout


def test_where_a_criterion_would_have_ended_an_arm_and_what_that_cost(arena, tmp_path):
    table, arms = arena["table"], arena["arms"]
    members = [
        model("a", 0, True, False, False, False),
        model("b", 1, True, True, False, False),
        model("c", 2, True, True, True, False),
    ]
    states = {"ties-greedy": RunState(models=Population.of(members))}
    held_out = {each.name: each.scores for each in members}
    fixture = arena["fixtures"].Fixture(0, tmp_path)
    stops = {"ties-greedy": {"pool_unchanged": 1}}
    played = table.Played(fixture, states, held_out, stops)
    found = {
        each["criterion"]: each for each in table._stopping([arms.Arm("greedy")], [played], 40)
    }
    early, never = found["pool_unchanged"], found["no_improvement 2"]
    assert (early["held_out"], early["held_out_at_the_end"], early["children"]) == (50.0, 75.0, 1)
    assert (never["held_out"], never["stopped"]) == (75.0, 0.0)
