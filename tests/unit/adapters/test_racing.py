"""Races over the landscape's store: the same decision whatever is found there."""

import dataclasses
import shutil

import pytest
from pydantic import ValidationError

from evomerge.adapters.racing import Rules, raced
from evomerge.domain.digest import decision_digest
from evomerge.domain.scores import Scores
from evomerge.domain.state import fold
from evomerge.store.artefacts import Store
from evomerge.store.journal import read_journal
from evomerge.store.samples import evaluation_name
from evomerge.store.verification import verify
from evomerge.testing.contracts import ignore
from evomerge.testing.landscape import LandscapeEvaluator, make_foundation
from evomerge.testing.landscape_run import (
    BATCHES,
    LandscapeWorkplace,
    landscape_config,
    run_landscape,
)


class Scene:
    """A strong and a weak model, the strong one scored in the store."""

    def __init__(self, root, error=0.2):
        self.store = Store(root / "store")
        self.evaluator = LandscapeEvaluator(batches=BATCHES)
        self.evaluations = []
        found = [make_foundation(root / str(seed), str(seed), seed) for seed in range(6)]
        self.folders = {each.content_id: root / each.name for each in found}
        scored = sorted((self.full(each.content_id).aggregate, each.content_id) for each in found)
        self.weak, self.strong = scored[0][1], scored[-1][1]
        rules = Rules(error, BATCHES, seed=0)
        self.contest = rules.contest(self.store, "strong", self.strong, self.full(self.strong))
        self.reverse = rules.contest(self.store, "weak", self.weak, self.full(self.weak))
        self.evaluations.clear()

    def name(self, content_id):
        return evaluation_name(content_id, self.evaluator.evaluation_id)

    def evaluate(self, content_id, into, contest):
        self.evaluations.append(content_id)
        scores = self.evaluator.evaluate(self.folders[content_id], into, ignore, contest)
        (into / "scores.json").write_text(scores.model_dump_json())
        return scores

    def full(self, content_id):
        made = self.store.obtain(
            self.name(content_id), lambda into: self.evaluate(content_id, into, None) and None
        )
        return self.read(made.path)

    @staticmethod
    def read(folder):
        return Scores.model_validate_json((folder / "scores.json").read_text())

    def race(self, content_id, contest):
        return raced(
            self.store,
            content_id,
            contest,
            lambda into, race: self.evaluate(content_id, into, race),
            self.read,
            lambda: False,
        )


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_a_lost_race_found_in_full_is_recorded_as_if_it_had_been_run(scene):
    made, known = scene.race(scene.weak, scene.contest)
    assert made.reused
    assert not scene.evaluations
    scene.store.remove(scene.name(scene.weak))
    made, run = scene.race(scene.weak, scene.contest)
    assert not made.reused
    assert run == known
    scores, race = run
    assert race.items < race.of == 300
    assert sum(task.samples for task in scores.tasks) == race.items
    assert not scene.store.holds(scene.name(scene.weak)), "a part is never taken for the whole"
    made, again = scene.race(scene.weak, scene.contest)
    assert made.reused
    assert again == known
    assert scene.evaluations == [scene.weak]


def test_a_race_that_is_not_lost_leaves_a_full_evaluation(scene):
    before = scene.full(scene.strong)
    scene.store.remove(scene.name(scene.strong))
    made, outcome = scene.race(scene.strong, scene.reverse)
    assert outcome is None
    assert made.path == scene.store.path(scene.name(scene.strong))
    assert scene.read(made.path) == before


def test_a_damaged_part_is_made_again(scene):
    scene.store.remove(scene.name(scene.weak))
    made, outcome = scene.race(scene.weak, scene.contest)
    log = next(made.path.glob("samples_*"))
    log.write_text(log.read_text().replace("0.", "1.", 1))
    fresh = Store(scene.store.root)
    scene.store = fresh
    assert scene.race(scene.weak, scene.contest)[1] == outcome
    assert len(scene.evaluations) == 2


def test_other_rules_are_another_race(scene):
    for changed in ({"error": 0.01}, {"content_id": "another"}):
        assert dataclasses.replace(scene.contest, **changed).id != scene.contest.id


def test_the_estimate_is_what_all_items_would_have_given_or_near(scene):
    whole = scene.full(scene.weak).aggregate
    _, (_, race) = scene.race(scene.weak, scene.contest)
    assert race.low <= whole <= race.high
    assert race.estimate == pytest.approx(whole, abs=5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("raced")
    state = race_landscape(root)
    return root, state


def race_landscape(root, observer=None):
    config = landscape_config(strategy={"name": "kinship", "k": 2})
    return run_landscape(root, config, LandscapeWorkplace(root, racing=0.4), observer)


class Interrupts:
    """Raises in the middle of the nth race, between two of its looks."""

    def __init__(self, races):
        self.left = races

    def happened(self, event, state):
        pass

    def progressed(self, model, activity, done, total):
        if activity == "score" and (done, total) == (1, len(BATCHES)):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def test_a_run_stopped_in_the_middle_of_a_race_decides_alike(whole, tmp_path):
    _, state = whole
    assert len(state.raced_out) >= 3
    races = state.merges
    for number in range(1, races + 1):
        root = tmp_path / str(number)
        with pytest.raises(KeyboardInterrupt):
            race_landscape(root, Interrupts(number))
        entries = read_journal(root / "runs/landscape/journal.jsonl").entries
        assert not fold(entries).finished
        assert decision_digest(race_landscape(root)) == decision_digest(state), number
        shutil.rmtree(root)


def test_losers_stay_out_of_the_pool_and_everything_is_there(whole):
    root, state = whole
    lost = {model.name for model in state.raced_out}
    assert not any(lost & set(generation.pool or ()) for generation in state.generations)
    assert state.best.name not in lost
    assert {model.name for model in state.ranking[-len(lost) :]} == lost
    assert all(model.race.estimate == model.score for model in state.raced_out)
    assert {each.verdict for each in verify(state, Store(root / "runs/store"))} == {"whole"}
    measured = {name for pair in state.readings for name in pair}
    assert lost <= measured, "kinship is measured as ever"


def test_without_races_the_same_model_wins(whole, tmp_path):
    config = landscape_config(strategy={"name": "kinship", "k": 2})
    assert run_landscape(tmp_path, config).best.name == whole[1].best.name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": {"pool": "elites"}}, "use pool: top_k"),
        ({"strategy": {"name": "portfolio"}}, "learns from the score of every child"),
    ],
)
def test_what_cannot_race_is_refused(changes, said):
    evaluation = {"tasks": ["landscape"], "racing": {"error": 0.05}}
    with pytest.raises(ValidationError, match=said):
        landscape_config(evaluation=evaluation, **changes)


@pytest.mark.parametrize("batches", [[], [0.5], [0.5, 0.25, 1.0], [0.0, 1.0]])
def test_batches_grow_to_all_items(batches):
    evaluation = {"tasks": ["landscape"], "racing": {"error": 0.05, "batches": batches}}
    with pytest.raises(ValidationError):
        landscape_config(evaluation=evaluation)
