"""What is shown of runs, as values: gains, skills, searches, lineages; and as JSON."""

import json
from dataclasses import replace

import pytest

from evomerge.domain.difference import Difference, Gains, ModelComparison
from evomerge.domain.kinship import EstimatedReading, Metric, pair
from evomerge.domain.state import fold
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import replay, replay_config
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import landscape_config, run_landscape
from evomerge.views import as_document
from evomerge.views.kinship import merge_gains
from evomerge.views.outcome import gain_of, outcome_of
from evomerge.views.run import run_view
from evomerge.views.search import search_of
from evomerge.views.tasks import tasks_of


def ran(tmp_path, **config):
    run_landscape(tmp_path, landscape_config(**config))
    entries = RunDirectory(tmp_path / "runs" / "landscape").read()
    return entries, fold(entries)


@pytest.fixture(scope="module")
def greedy(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("greedy"), stopping=[{"max_generations": 3}])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    strategy = {"name": "coefficient_search"}
    return ran(
        tmp_path_factory.mktemp("searched"), strategy=strategy, stopping=[{"max_evaluations": 16}]
    )


def compared(a, b):
    difference = Difference(value=2, low=-1, high=5, p=0.2, items=9, test="permutation")
    return ModelComparison(a=a, b=b, relation="foundation", difference=difference, corrected=0.4)


def test_the_gain_is_that_of_the_paired_test(greedy):
    _, state = greedy
    best, over = state.best.name, gain_of(state, state.best).over
    tested = replace(state, gains=Gains(split="held_out", comparisons=(compared(best, over),)))
    gain = outcome_of(tested).gain
    assert (gain.model, gain.over, gain.split, gain.paired) == (best, over, "held_out", True)
    assert (gain.value, gain.low, gain.high, gain.p) == (2, -1, 5, 0.4)
    assert not gain.certain


def test_without_a_test_the_gain_is_of_two_estimates(greedy):
    _, state = greedy
    best, over = state.best, state.models[outcome_of(state).gain.over]
    gain = gain_of(state, best)
    ours, theirs = best.estimate("held_out"), over.estimate("held_out")
    assert gain.value == ours.value - theirs.value
    half = 1.959964 * (ours.stderr**2 + theirs.stderr**2) ** 0.5
    assert gain.high - gain.value == pytest.approx(half)
    assert not gain.paired
    assert gain_of(state, over) is None
    of_others = replace(state, gains=Gains(split="held_out", comparisons=(compared("x", "y"),)))
    assert gain_of(of_others, best).value == gain.value


def test_every_model_is_compared_with_the_specialist_of_each_task(greedy):
    _, state = greedy
    tasks = tasks_of(state)
    foundation = state.at_generation(0)
    for cell in tasks.scores:
        specialist = max(
            foundation, key=lambda m: next(t.value for t in m.scores.tasks if t.task == cell.task)
        )
        assert cell.specialist == specialist.name
        kept = cell.score >= tasks.kept_at * cell.reference
        assert (cell.change == "lost") == (not kept)
        assert (cell.change == "gained") == (cell.score > cell.reference)
    lost = {skill.task for skill in outcome_of(state).skills.lost}
    assert {each.task for each in tasks.changes if each.change == "lost"} == lost
    for each in tasks.changes:
        assert each.low <= each.difference <= each.high


def test_a_search_is_told_point_by_point(searched):
    _, state = searched
    search = search_of(state)
    assert set(search.foundation) == {model.name for model in state.at_generation(0)}
    points = [model for model in state.models.values() if model.parents]
    assert [point.model for point in search.points] == [model.name for model in points]
    for point, model in zip(search.points, points, strict=True):
        chosen = model.candidate.proposal.coefficients
        weights = dict(zip(model.parents, chosen.weights, strict=True))
        assert point.weights == {name: weights.get(name, 0.0) for name in search.foundation}
        assert (point.score, point.density) == (model.score, chosen.density)
    best = max(point.score for point in search.points)
    assert [point for point in search.points if point.record][-1].score == best
    told = [point for point in search.points if point.expected is not None]
    assert told
    assert all(point.generation > 0 and point.expected_error > 0 for point in told)
    assert set(search.importance) == set(search.foundation)
    assert all(0 <= share < 1.5 for share in search.importance.values())
    assert search_of(state) == search, "the same every time"


def test_a_weight_that_the_score_depends_on_is_important():
    from random import Random

    from evomerge.domain.model import Coefficients
    from evomerge.domain.objective import Objective
    from evomerge.surrogate import Observation, Surrogate, hindcast, importances

    rng = Random(4)
    seen = []
    for _ in range(24):
        weights = (rng.uniform(0, 1.6), rng.uniform(0, 1.6), rng.uniform(0, 1.6))
        score = 0.5 + 0.3 * (weights[1] - 0.8)
        seen.append(Observation(Coefficients.at(weights, None), (score,)))
    surrogate, objective = Surrogate.of(seen), Objective().over(["t"], [1.0])
    shares = importances(surrogate, objective)
    assert shares[1] > 0.9
    assert max(shares[0], shares[2]) < 0.1
    told = hindcast(surrogate, list(range(24)), objective)
    assert told[:3] == [None] * 3
    late = list(zip(told, seen, strict=True))[12:]
    assert all(abs(each.value - 100 * point.scores[0]) < 5 for each, point in late)


def world(kinship):
    """Two founders, six merges of them and their near-equal children."""
    children, last = [], ("a", "b")
    for number in range(8):
        children.append({"model": f"m{number}", "parents": list(last), "score": 50.0 + number})
        last = (f"m{number}", "a")
    names = ["a", "b", *(child["model"] for child in children)]
    pairs = [(x, y) for i, x in enumerate(names) for y in names[i + 1 :]]
    return Landscape.model_validate(
        {
            "format": 1,
            "name": "w",
            "max_generations": 8,
            "foundation": {"a": 40.0, "b": 41.0},
            "children": children,
            "kinship": [{"models": list(p), "value": kinship(*p)} for p in pairs],
        }
    )


def state_of(landscape, kinship):
    state = replay(landscape, replay_config(landscape, stopping=[{"max_generations": 1}])).state
    readings = {
        pair(x, y): EstimatedReading(models=(x, y), pcc=kinship(x, y), errors={Metric.PCC: 0.01})
        for x in state.models
        for y in state.models
        if x < y
    }
    return replace(state, readings=state.readings.update(readings))


def test_close_relatives_are_one_lineage_and_no_correlation_is_made_of_them(paper):
    found = merge_gains(paper)
    assert found.pairs < len(found.points)
    apart = {point.lineages for point in found.points}
    assert found.pairs == len(apart)
    assert (found.gain is None) == (found.pairs < 6)

    def close(x, y):
        return 0.99 if {x, y}.isdisjoint({"a", "b"}) else 0.1

    one = state_of(world(close), close)
    assert merge_gains(one).gain is None


@pytest.fixture
def paper():
    from pathlib import Path

    landscape = Path(__file__).parents[2] / "golden" / "paper" / "landscape-kinship.json"
    told = Landscape.model_validate_json(landscape.read_text())
    return replay(told, replay_config(told, stopping=[{"max_generations": 5}])).state


@pytest.mark.parametrize("run", ["greedy", "searched"])
def test_a_view_is_plain_values(run, request):
    entries, state = request.getfixturevalue(run)
    view = run_view("run", entries, state)
    document = json.loads(json.dumps(as_document(view)))
    assert [row["name"] for row in document["models"]] == list(state.models)
    assert document["outcome"]["model"] == state.best.name
    assert document["work"]["evaluations"] == state.evaluations
    assert (view.search is None) == (run == "greedy")
    numbers = [row.evaluation for row in view.models]
    assert sorted(numbers) == list(range(1, state.evaluations + 1))
