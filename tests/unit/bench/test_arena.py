"""The arena's arithmetic: whose score counts at a mark, and arms that are what they say."""

import importlib
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evomerge.domain.model import Model
from evomerge.domain.population import Population
from evomerge.domain.scores import Scores, TaskScore, solved_items
from evomerge.domain.state import RunState

ROOT = Path(__file__).parents[3]
MODULES = ("families", "fixtures", "arms", "results", "table")


@pytest.fixture(scope="module")
def arena():
    """The modules of the package, which is run as a folder and is on no path otherwise."""
    folder = str(ROOT / "scripts" / "bench" / "arena")
    sys.path.insert(0, folder)
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(folder)
        for name in MODULES:
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


def states_of(**right):
    """A state with one child by arm; `__` stands for the hyphens of its name."""
    return {
        name.replace("__", "-"): RunState(models=Population.of([model(name, 1, *items)]))
        for name, items in right.items()
    }


def played_of(arena, tmp_path, states, **also):
    held_out = {each.name: each.scores for s in states.values() for each in s.models.values()}
    fixture = arena["fixtures"].Fixture(0, tmp_path)
    return arena["results"].Played(fixture, states, held_out, **also)


def test_a_choice_of_partners_that_is_worse_than_kinship_is_told_so(arena, tmp_path):
    results, arms = arena["results"], arena["arms"]
    right = [True] * 60 + [False] * 40
    worse = [False] * 30 + right[30:]
    played = played_of(arena, tmp_path, states_of(ties__kinship=right, ties__random=worse))
    (test,) = results._tests([[arms.Arm("random")], [arms.Arm("kinship")]], [played], 40)
    assert (test["arm"], test["against"]) == ("ties-random", "ties-kinship")
    assert test["value"] == pytest.approx(-30.0)
    assert test["high"] < 0
    assert test["p_corrected"] < 0.001
    assert test["by_fixture"] == {0: [pytest.approx(-30.0)]}


def test_runs_of_the_same_seed_are_compared_and_their_items_averaged(arena, tmp_path):
    arm = arena["arms"].Arm
    right, half = [True] * 100, [True] * 50 + [False] * 50
    states = states_of(
        ties__kinship=half,
        ties__random=right,
        ties__random__seed2=half,
        coefficient_search=right,
        coefficient_search__seed2=half,
        wudi__coefficient_search=right,
        wudi__coefficient_search__seed2=right,
        wudi__coefficient_search__seed3=half,  # the other search has no third seed
    )
    played = played_of(arena, tmp_path, states)
    once = [arm("kinship"), arm("coefficient_search")]
    seeds = [[each.seeded(seed) for seed in (1, 2, 3)] for each in (arm("random"), once[1])]
    seeds.append([arm("coefficient_search", "wudi").seeded(seed) for seed in (1, 2, 3)])
    tests = arena["results"]._tests([[once[0]], *seeds], [played], 40)
    found = {test["arm"]: (test["against"], test["value"], test["by_fixture"]) for test in tests}
    assert found["ties-random"] == ("ties-kinship", pytest.approx(25.0), {0: [50.0, 0.0]})
    search, value, by_seed = found["wudi-coefficient_search"]
    assert (search, value) == ("coefficient_search", pytest.approx(25.0))
    assert by_seed == {0: [0.0, 50.0]}


def test_only_a_strategy_that_draws_has_several_seeds(arena):
    arm = arena["arms"].Arm
    assert arm("kinship").seeded(2) == arm("kinship")
    assert arm("random").seeded(2).name == "ties-random-seed2"


def test_an_arm_with_several_seeds_is_one_row_with_their_spread(arena, tmp_path, monkeypatch):
    results, arms = arena["results"], arena["arms"]
    monkeypatch.setattr(results, "prices", lambda fixture, states: {})
    states = states_of(ties__random=[True] * 8 + [False] * 2, ties__random__seed2=[True] * 10)
    played = played_of(arena, tmp_path, states)
    found = results.document(
        [arms.Arm("random"), arms.Arm("random", seed=2)], [played], {}, (10,), 0
    )
    (row,) = found["arms"]
    assert row["name"] == "ties-random"
    (entry,) = row["fixtures"]
    assert entry["seeds"] == 2
    assert entry["held_out@10"] == entry["weakest@10"] == pytest.approx(90.0)
    assert entry["between_seeds@10"] == pytest.approx(200**0.5)
    assert "| ties-random | 90.0 | 90.0 |" in arena["table"].markdown(found)


@pytest.mark.parametrize("size", ["quick", "full"])
def test_every_arm_has_a_name_and_a_config_of_its_own(arena, tmp_path, size):
    arms = arena["arms"].arms_of(size)
    fixture = arena["fixtures"].Fixture(1, tmp_path)
    configs = [arm.config(fixture, 40) for arm in arms]
    assert len({arm.name for arm in arms}) == len(arms)
    assert len({(c.strategy.model_dump_json(), c.merge.model_dump_json()) for c in configs}) == len(
        arms
    )
    again = replace(arms[0], seed=2).config(fixture, 40)
    assert again.run.name == f"{configs[0].run.name}-seed2"
    assert again.run.seed != configs[0].run.seed
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
    faults, skills_of = arena["fixtures"]._faults, arena["families"].skills_of
    own = skills_of("specialists")
    assert not list(faults(fair, own))
    assert list(faults(fair | {"one_tensor_of_each": 60.0}, own)) == [
        "one tensor of each brings 60, a whole merge 80"
    ]
    fair["scores"][skills[0]][skills[1]] = 50.0
    assert list(faults(fair, own)) == [f"{skills[0]} has 50 on {skills[1]}"]
    (fault, *_) = faults(fair, skills_of("overlap"))
    assert fault == f"{skills[0]} has only 50 on its task {skills[1]}"


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
    members = [
        model("a", 0, True, False, False, False),
        model("b", 1, True, True, False, False),
        model("c", 2, True, True, True, False),
    ]
    states = {"ties-greedy": RunState(models=Population.of(members))}
    played = played_of(arena, tmp_path, states, stops={"ties-greedy": {"pool_unchanged": 1}})
    rows = arena["results"]._stopping([arena["arms"].Arm("greedy")], [played], 40)
    found = {each["criterion"]: each for each in rows}
    early, never = found["pool_unchanged"], found["no_improvement 2"]
    assert (early["held_out"], early["held_out_at_the_end"], early["children"]) == (50.0, 75.0, 1)
    assert (never["held_out"], never["stopped"]) == (75.0, 0.0)


@pytest.mark.parametrize("parents", ["overlap", "lora"])
def test_other_parents_have_the_base_and_the_tasks_but_not_the_weights(arena, tmp_path, parents):
    import torch
    from safetensors.torch import load_file

    families, tiny = arena["families"], arena["fixtures"].tiny
    recipe = replace(tiny.RECIPE, hidden=16, feed_forward=16, layers=1, base_steps=2, skill_steps=2)
    family = families.Family(tiny.make(tmp_path / "family", 0, recipe=recipe), 0, recipe)
    manifest = family.with_parents(tmp_path / "others", parents)
    written = manifest.stat().st_mtime_ns
    assert family.with_parents(tmp_path / "others", parents).stat().st_mtime_ns == written
    weights = {
        name: load_file(tmp_path / "others" / "models" / name / "model.safetensors")
        for name in (tiny.BASE, *tiny.SKILLS)
    }
    base = weights.pop(tiny.BASE)
    for name, own in weights.items():
        assert own.keys() == base.keys()
        changes = {key: own[key] - base[key] for key in base}
        changed = changes["model.layers.0.mlp.up_proj.weight"]
        assert changed.any(), name
        assert not changes["model.embed_tokens.weight"].any()
        if parents == "lora":
            assert torch.linalg.matrix_rank(changed, tol=1e-6) <= families.RANK
            assert not changes["model.norm.weight"].any()


def test_one_model_of_every_skill_is_tuned_on_all_of_them(arena, tmp_path):
    families, tiny = arena["families"], arena["fixtures"].tiny
    recipe = replace(tiny.RECIPE, hidden=16, feed_forward=16, layers=1, base_steps=1, skill_steps=1)
    family = families.Family(tiny.make(tmp_path / "family", 0, recipe=recipe), 0, recipe)
    world = tiny.make_world(0, recipe)
    draw = family._rows(list(tiny.SKILLS), random.Random(0))
    tags = {draw()[0] for _ in range(200)}
    assert tags > set(world.skill_tag.values())
    one = family._rows(["sort", "rotate"], random.Random(0))
    skilled = {one()[0] for _ in range(200)} & set(world.skill_tag.values())
    assert skilled == {world.skill_tag["sort"], world.skill_tag["rotate"]}
    assert family.with_every_skill().keys()
