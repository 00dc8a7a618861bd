"""Synthetic landscapes: laws of the worlds, and arms that are compared fairly."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from evomerge.cli.simulate import command
from evomerge.config import Config
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.simulation.arms import better, run_arms
from evomerge.simulation.landscape import METHODS, LandscapeSettings, SyntheticLandscape, merged

SETTINGS = LandscapeSettings(models=4, interference=0.1, items=100)


def config(strategy, method="ties"):
    return Config.model_validate(
        {
            "run": {"name": "imagined"},
            "base_model": "base",
            "foundation_models": ["a", "b", "c", "d"],
            "strategy": {"name": strategy, "k": 3},
            "merge": {"method": method},
            "evaluation": {"tasks": ["t"]},
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_model_is_a_specialist(seed):
    world = SyntheticLandscape(SETTINGS, seed)
    scores = np.stack([world.true_scores(vector) for vector in world.foundation])
    assert (np.diag(scores) > 80).all()
    assert (scores[~np.eye(4, dtype=bool)] < 25).all()


def test_an_evaluation_is_near_the_truth_and_repeats():
    world, again = SyntheticLandscape(SETTINGS, 3), SyntheticLandscape(SETTINGS, 3)
    vector = sum(world.foundation) * 0.4
    answers = world.answers(vector)
    assert (answers == again.answers(vector)).all()
    assert np.abs(100 * answers.mean(axis=1) - world.true_scores(vector)).max() < 15


@pytest.mark.parametrize("method", METHODS)
def test_merges_of_one_model_with_itself_keep_its_direction(method):
    vector = SyntheticLandscape(SETTINGS, 0).foundation[0]
    own = {"weight": 0.5, "density": 1.0}
    recipe = Recipe(
        method=method,
        parents=(Ingredient(model="a", parameters=own), Ingredient(model="a", parameters=own)),
        base="base",
        seed=1,
        engine="e",
    )
    child = merged(recipe, [vector, vector])
    assert child @ vector / np.linalg.norm(child) / np.linalg.norm(vector) == pytest.approx(1.0)


def test_arms_see_the_same_landscapes_whoever_runs_beside_them():
    arms = [(name, config(name)) for name in ("greedy", "seed_grid")]
    two = run_arms(arms, SETTINGS, count=3, evaluations=14, jobs=2)
    one = run_arms(arms[1:], SETTINGS, count=3, evaluations=14, jobs=1)
    assert (two[1].chosen == one[0].chosen).all()
    assert (two[0].chosen[:, 3] == two[1].chosen[:, 3]).all(), "the foundation models"
    assert better(*two) + better(*reversed(two)) == 1.0


def test_a_search_is_judged_by_its_objective():
    base = config("greedy")
    worst = base.evaluation.model_copy(update={"objective": "worst"})
    arms = [("mean", base), ("worst", base.model_copy(update={"evaluation": worst}))]
    mean, weakest = run_arms(arms, SETTINGS, count=3, evaluations=14, jobs=1)
    assert (weakest.chosen[:, -1] == weakest.weakest).all()
    assert (mean.chosen[:, -1] > mean.weakest).all()


def test_the_command_compares_strategies(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "run: {name: r}\nbase_model: b\nfoundation_models: [a, c, d]\n"
        "merge: {method: ties}\nevaluation: {tasks: [t]}\n"
    )
    words = [str(path), "--seeds", "2", "--evaluations", "8", "--jobs", "1", "--json"]
    done = CliRunner().invoke(command, [*words, "--strategies", "greedy,seed_grid", "--k", "2,3"])
    document = json.loads(done.stdout)
    assert [arm["name"] for arm in document["arms"]] == [
        "greedy, k 2", "greedy, k 3", "seed_grid, k 2", "seed_grid, k 3",
    ]  # fmt: skip
    assert document["settings"]["models"] == 3
    assert all(0 < arm["after"]["8"]["mean"] < 100 for arm in document["arms"])
