"""Laws that hold for every strategy on every state."""

from dataclasses import replace
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map
from pydantic import TypeAdapter

from evomerge.config.choices import AnyCriterion
from evomerge.domain.kinship import KinshipMatrix, KinshipReading, Metric, pair
from evomerge.domain.model import Model
from evomerge.domain.objective import Objective
from evomerge.domain.population import Population
from evomerge.domain.scores import Scores, TaskScore
from evomerge.domain.state import Generation, RunState
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import replay_config
from evomerge.imagined.world import imagined_start
from evomerge.stopping import CRITERIA
from evomerge.strategies.coefficient_search import CoefficientSearch
from evomerge.strategies.greedy import Greedy
from evomerge.strategies.kinship import KinshipGuided
from evomerge.strategies.random import RandomExploration
from evomerge.strategies.seed_grid import SeedGrid
from evomerge.strategies.steady_state import SteadyState
from evomerge.strategies.steps import (
    best_untried_pair,
    contenders,
    exploration_candidates,
    greedy_pairs,
    least_related,
)

STRATEGIES = [
    Greedy(),
    KinshipGuided(),
    KinshipGuided(k=2, exploration={"candidates": "repository", "prefer": "highest"}),
    KinshipGuided(exploration={"candidates": "pool"}),
    RandomExploration(exploration={"candidates": "repository"}),
]
EVERY_STRATEGY = [
    *STRATEGIES,
    SteadyState(),
    SeedGrid(),
    CoefficientSearch(search={"algorithm": "random"}),
]
SURROGATE = [
    CoefficientSearch(search={"children": 2}),
]

CRITERIA_OF_EVERY_KIND = TypeAdapter(list[AnyCriterion]).validate_python(
    [
        "pool_unchanged",
        {"no_improvement": {"patience": 1}},
        {"kinship_saturation": {"threshold": 0.3}},
        {"max_generations": 2},
        {"max_evaluations": 5},
        {"max_hours": 1.0},
        {"max_cost": {"price_per_gpu_hour": 2.0, "limit": 5.0}},
    ]
)


def scored(name, generation, value, parents=()):
    scores = Scores(
        evaluation_id="e", tasks=(TaskScore(task="t", metric="m", value=value, samples=1),)
    )
    kind = "greedy" if parents else "foundation"
    return Model(name, kind, generation, f"id-{name}", tuple(parents), scores=scores, merged=True)


@st.composite
def worlds(draw):
    """A state after some generations with random scores, parents and kinship."""
    score = st.integers(0, 40).map(lambda points: points * 2.5)  # ties are frequent
    foundation = [f"f{i}" for i in range(draw(st.integers(2, 5)))]
    models = [scored(name, 0, draw(score)) for name in foundation]
    tried = set()
    generations = draw(st.integers(0, 3))
    for generation in range(1, generations + 1):
        pairs = [p for p in combinations([m.name for m in models], 2) if frozenset(p) not in tried]
        count = draw(st.integers(0, min(4, len(pairs))))
        for number, parents in enumerate(draw(st.permutations(pairs))[:count], start=1):
            tried.add(frozenset(parents))
            models.append(scored(f"model-{generation}-{number}", generation, draw(score), parents))
    values = {
        tuple(sorted(p)): draw(st.none() | st.floats(-1, 1))
        for p in combinations([m.name for m in models], 2)
    }
    return models, generations, values


def state_of(models, generations, k):
    world = Landscape(format=1, name="w", foundation={"a": 1.0, "b": 2.0})
    return RunState(
        started=imagined_start(replay_config(world, strategy={"name": "greedy", "k": k})),
        models=Population.of(models),
        generations=tuple(Generation(number, pool=()) for number in range(generations + 1)),
    )


def propose(strategy, models, generations, values, metric=Metric.PCC):
    state = state_of(models, generations, strategy.k)
    return strategy.propose(state, KinshipMatrix(metric, values), Random(11))


class Stated(KinshipMatrix):
    """Readings of some pairs; whoever asks for another one fails."""

    def between(self, a, b):
        assert pair(a, b) in self.values, f"{a} and {b} are not among the stated pairs"
        return super().between(a, b)


@pytest.mark.parametrize("strategy", EVERY_STRATEGY, ids=str)
@given(world=worlds())
def test_it_reads_only_the_pairs_that_it_states(strategy, world):
    models, generations, values = world
    state = state_of(models, generations, strategy.k)
    stated = strategy.pairs(state)
    assert set(stated) <= set(values)
    assert len(set(stated)) == len(stated)
    kinship = Stated(Metric.PCC, {each: values[each] for each in stated})
    expected = strategy.propose(state, KinshipMatrix(Metric.PCC, values), Random(11))
    assert strategy.propose(state, kinship, Random(11)) == expected


@given(world=worlds(), measured=st.sets(st.integers(0, 200)))
def test_the_least_related_model_is_found_without_looking_at_all(world, measured):
    """Of those measured before the least related contends, and whoever was not measured."""
    models, generations, values = world
    bare = state_of(models, generations, 3)
    readings = {
        each: KinshipReading(models=each, pcc=value)
        for place, (each, value) in enumerate(sorted(values.items()))
        if place in measured
    }
    state = replace(bare, readings=Map(readings))
    everybody = exploration_candidates(state, "repository", ())
    some = contenders(state, "repository")
    assert {model.name for model in some} <= {model.name for model in everybody}
    assert len(some) <= 1 + sum(
        pair(state.best.name, model.name) not in readings for model in state.ranking[1:]
    )
    kinship = KinshipMatrix(Metric.PCC, values)
    expected = state.best and least_related(state.best, everybody, kinship)
    assert (state.best and least_related(state.best, some, kinship)) == expected


@given(world=worlds(), k=st.integers(2, 6))
def test_the_best_untried_pair_is_the_first_greedy_one(world, k):
    models, generations, _ = world
    state = state_of(models, max(1, generations), k)
    first = next(iter(greedy_pairs(state)), None)
    found = best_untried_pair(state)
    assert (found and {model.name for model in found}) == (first and set(first.parents))


@pytest.mark.parametrize("strategy", [Greedy(), SteadyState()], ids=str)
def test_pairs_level_on_the_weakest_task_go_by_their_mean(strategy):
    """By `worst` specialists have no point each; the better ones on average are merged first."""
    models = []
    for name, value in {"ash": 10.0, "birch": 80.0, "cedar": 90.0}.items():
        tasks = tuple(
            TaskScore(task=task, metric="m", value=points, samples=1)
            for task, points in {"one": value, "two": 0.0}.items()
        )
        model = scored(name, 0, 0.0)
        scores = model.scores.model_copy(update={"tasks": tasks})
        objectives = {"selection": Objective("worst")}
        models.append(replace(model, scores=scores, objectives=objectives))
    state = state_of(models, 1, 3)
    first = strategy.propose(state, KinshipMatrix(Metric.PCC), Random(0))[0]
    assert first.parents == ("cedar", "birch")


def test_every_criterion_is_under_the_laws():
    assert {next(iter(each.model_dump())) for each in CRITERIA_OF_EVERY_KIND} == set(CRITERIA.own)


@pytest.mark.parametrize("criterion", CRITERIA_OF_EVERY_KIND, ids=str)
@given(world=worlds())
def test_so_does_a_criterion(criterion, world):
    models, generations, values = world
    state = state_of(models, generations, 3)
    readings = {each: KinshipReading(models=each, pcc=value) for each, value in values.items()}
    stated = {each: readings[each] for each in criterion.pairs(state)}
    expected = criterion.reached(replace(state, readings=readings))
    assert criterion.reached(replace(state, readings=stated)) == expected


@pytest.mark.parametrize("strategy", EVERY_STRATEGY, ids=str)
@given(world=worlds(), order=st.randoms())
def test_the_order_of_the_population_does_not_matter(strategy, world, order):
    _order_does_not_matter(strategy, world, order)


@pytest.mark.parametrize("strategy", SURROGATE, ids=str)
@settings(max_examples=4)
@given(world=worlds(), order=st.randoms())
def test_nor_to_the_surrogate(strategy, world, order):
    _order_does_not_matter(strategy, world, order)


def _order_does_not_matter(strategy, world, order):
    models, generations, values = world
    shuffled = list(models)
    order.shuffle(shuffled)
    items = list(values.items())
    order.shuffle(items)
    expected = propose(strategy, models, generations, values)
    assert propose(strategy, shuffled, generations, dict(items)) == expected
    assert propose(strategy, models, generations, values) == expected


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
@given(world=worlds())
def test_no_pair_is_ever_merged_twice(strategy, world):
    models, generations, values = world
    tried = {frozenset(model.parents) for model in models if model.parents}
    proposed = [frozenset(p.parents) for p in propose(strategy, models, generations, values)]
    assert len(set(proposed)) == len(proposed)
    assert not set(proposed) & tried
    assert all(len(parents) == 2 for parents in proposed)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
@given(world=worlds())
def test_greedy_merges_come_first_and_are_few(strategy, world):
    models, generations, values = world
    proposals = propose(strategy, models, generations, values)
    kinds = [proposal.kind for proposal in proposals]
    assert kinds == sorted(kinds, reverse=True), "greedy, then exploration"
    assert kinds.count("exploration") <= 1
    if generations:
        assert kinds.count("greedy") <= strategy.k
    else:
        assert kinds.count("greedy") == len(models) * (len(models) - 1) // 2
        assert "exploration" not in kinds


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
@given(world=worlds())
def test_the_better_parent_comes_first(strategy, world):
    models, generations, values = world
    scores = {model.name: model.score for model in models}
    for proposal in propose(strategy, models, generations, values):
        first, second = proposal.parents
        assert scores[first] >= scores[second]


@given(world=worlds())
def test_the_exploration_partner_is_the_least_related_candidate(world):
    models, generations, values = world
    strategy = KinshipGuided(exploration={"candidates": "repository"})
    state = state_of(models, generations, 3)
    proposals = propose(strategy, models, generations, values)
    explored = [p for p in proposals if p.kind == "exploration"]
    best = state.best.name
    taken = {frozenset(model.parents) for model in models} | {
        frozenset(p.parents) for p in proposals if p.kind == "greedy"
    }
    others = {
        model.name: kinship
        for model in models
        if model.name != best and frozenset((best, model.name)) not in taken
        if (kinship := values[tuple(sorted((best, model.name)))]) is not None
    }
    assert len(explored) == (generations > 0 and bool(others))
    for proposal in explored:
        (partner,) = set(proposal.parents) - {best}
        assert others[partner] == min(others.values())


def test_under_euclidean_the_least_related_is_the_most_distant():
    models = [scored("a", 0, 90.0), scored("b", 0, 10.0), scored("c", 0, 20.0)]
    models += [scored("model-1-1", 1, 50.0, ("b", "c"))]
    values = {("a", "b"): 1.0, ("a", "c"): 9.0, ("b", "c"): 5.0}
    values |= {(name, "model-1-1"): 3.0 for name in "abc"}
    strategy = KinshipGuided(k=2)
    assert propose(strategy, models, 1, values, Metric.EUCLIDEAN)[-1].parents == ("a", "c")
    assert propose(strategy, models, 1, values, Metric.PCC)[-1].parents == ("a", "b")
