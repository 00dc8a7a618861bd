"""Strategies beyond Algorithm 1: what each proposes, and that the journal alone decides."""

import math
from contextlib import suppress
from functools import cache
from random import Random

import pytest

from evomerge.domain.events import ModelScored
from evomerge.domain.kinship import KinshipReading
from evomerge.domain.model import Coefficients, Proposal
from evomerge.domain.objective import Objective
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.domain.scores import Scores, TaskScore, solved_items
from evomerge.evolution import evolve
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import replay_config
from evomerge.imagined.world import ImaginedExecutor, MemoryLedger, imagined_start
from evomerge.stopping import MaxEvaluations
from evomerge.strategies.coefficient_search import CoefficientSearch, _merge_of_all
from evomerge.strategies.greedy import Greedy
from evomerge.strategies.seed_grid import SeedGrid
from evomerge.strategies.steady_state import SteadyState
from evomerge.surrogate import Observation, suggest

NAMES = ("ash", "birch", "cedar")
GOAL = (0.9, 0.4, 0.7)


class Worlds(ImaginedExecutor):
    """An executor in which a model is the sum of its foundation models' shares."""

    def __init__(self):
        super().__init__(self.scores_of, lambda a, b: KinshipReading(models=(a.name, b.name)))
        self.shares = {name: [float(name == other) for other in NAMES] for name in NAMES}

    def scores_of(self, model):
        if model.candidate:
            recipe = model.candidate.recipe
            columns = zip(*(self.shares[p.model] for p in recipe.parents), strict=True)
            weights = [p.parameters["weight"] for p in recipe.parents]
            self.shares[recipe.id] = [
                math.fsum(w * x for w, x in zip(weights, column, strict=True)) for column in columns
            ]
        shares = self.shares[model.content_id]
        right = [
            [abs(s - g) < 0.05 * (i + 1) for i in range(20)]
            for s, g in zip(shares, GOAL, strict=True)
        ]
        tasks = tuple(
            TaskScore(
                task=name,
                metric="m",
                value=100 * math.exp(-((s - g) ** 2)),
                samples=20,
                solved=solved_items(items),
            )
            for name, s, g, items in zip(NAMES, shares, GOAL, right, strict=True)
        )
        return Scores(evaluation_id="e", tasks=tasks)


def start(names, k, pool="top_k", **sections):
    world = Landscape(format=1, name="w", foundation=dict.fromkeys(names, 0.0))
    strategy = {"name": "greedy", "k": k, "pool": pool}
    config = replay_config(world, run={"name": "w", "seed": 7}, strategy=strategy, **sections)
    return imagined_start(config, names)


def recipe(proposal, parents):
    weights = (
        proposal.coefficients.weights
        if proposal.coefficients
        else [1 / len(parents)] * len(parents)
    )
    own = [
        Ingredient(model=parent.content_id, parameters={"weight": weight})
        for parent, weight in zip(parents, weights, strict=True)
    ]
    return Recipe(method="sum", parents=tuple(own), base="base", engine="e")


def run(strategy, evaluations=40, ledger=None, pool="top_k", **sections):
    ledger = ledger or MemoryLedger()
    if ledger.state.started is None:
        ledger.record(start(NAMES, strategy.k, pool, **sections))
    budget = [MaxEvaluations(max_evaluations=evaluations)]
    return evolve(ledger, strategy, budget, recipe, Worlds())


def test_the_seed_grid_merges_all_foundation_models_at_once():
    state = run(SeedGrid(k=2))
    grid = [m for m in state.models.values() if m.generation == 1]
    assert len(grid) == 9
    assert {m.kind for m in grid} == {"grid"}
    assert all(set(m.parents) == set(NAMES) for m in grid)
    assert len({m.content_id for m in grid}) < 9, "the world knows no density"
    assert state.stop.startswith("exhausted")


@cache
def searched(children):
    """The end of a search with the surrogate; a fit takes a tenth of a second."""
    return run(CoefficientSearch(k=2, search={"children": children}), evaluations=20)


@pytest.mark.parametrize("children", [1, 3])
def test_the_surrogate_climbs_within_twenty_evaluations(children):
    state = searched(children)
    grid = [m for m in state.models.values() if m.kind == "grid"]
    assert len(grid) == 2
    assert state.best.kind == "search"
    assert state.best.score > 99.0
    assert state.evaluations == 20
    assert {len(g.candidates) for g in state.generations[2:]} == {children}
    points = [m.candidate.proposal.coefficients for m in state.models.values() if m.candidate]
    assert len(set(points)) == len(points), "no point is paid for twice"


def test_random_points_are_not_as_good():
    drawn = run(CoefficientSearch(k=2, search={"algorithm": "random"}), evaluations=20)
    assert drawn.best.score < searched(1).best.score


def test_a_foundation_model_of_weight_zero_is_no_parent():
    """But a merge has two at least."""
    foundation = run(Greedy(k=2), evaluations=3).at_generation(0)
    for weights, parents in (((0.5, 0.0, 0.7), NAMES[::2]), ((0.0, 0.0, 0.7), NAMES)):
        proposal = _merge_of_all(foundation, Coefficients.at(weights, None))
        assert proposal.parents == parents
        assert len(proposal.coefficients.weights) == len(parents)


WUDI = {"method": "wudi"}


def test_under_wudi_all_points_are_of_disentangled_task_vectors():
    for strategy, opening in ((SeedGrid(k=2), 3), (CoefficientSearch(k=2), 2)):
        state = run(strategy, evaluations=12, merge=WUDI)
        first = [m.candidate.proposal.coefficients for m in state.at_generation(1)]
        assert len(first) == opening
        chosen = [
            m.candidate.proposal.coefficients
            for m in state.models.values()
            if m.kind in {"grid", "search"}
        ]
        assert {(each.method, each.density) for each in chosen} == {("wudi", None)}
        assert all(len(each.weights) == len(NAMES) for each in chosen), "none is left out"


def test_a_search_under_wudi_climbs_without_the_specialists_as_points():
    """A specialist is base + its own task vector, not + its disentangled one."""
    state = run(CoefficientSearch(k=2), evaluations=16, merge=WUDI)
    assert state.best.kind == "search"
    assert state.best.score > 98.0


SEEN = [
    Observation(Coefficients.at([1.0, 0.0], None), (0.9, 0.0)),
    Observation(Coefficients.at([0.0, 1.0], None), (0.0, 0.9)),
    Observation(Coefficients.at([0.8, 0.8], None), (0.6, 0.6)),
]


def _mean(*weights):
    return Objective().over(["one", "two"], weights)


def test_the_surrogate_heeds_what_the_tasks_weigh():
    first = suggest(SEEN, _mean(0.95, 0.05), [0.5], 1.6, Random(0)).weights
    second = suggest(SEEN, _mean(0.05, 0.95), [0.5], 1.6, Random(0)).weights
    assert first[0] > first[1]
    assert second[1] > second[0]


def test_the_surrogate_seeks_what_the_objective_asks_for():
    """The easy task is best at a first weight of 1.2, the hard one at 0.4."""

    def scores(w):
        return math.exp(-((w - 1.2) ** 2) / 0.4), 0.6 * math.exp(-((w - 0.4) ** 2))

    drawn = Random(1)
    points = [[round(drawn.uniform(0.0, 1.6), 2) for _ in range(2)] for _ in range(24)]
    seen = [Observation(Coefficients.at(at, None), scores(at[0])) for at in points]
    for name, combined, near in (("worst", min, 0.71), ("mean", sum, 1.09)):
        best = max((x / 1000 for x in range(1600)), key=lambda w, c=combined: c(scores(w)))
        assert best == pytest.approx(near, abs=0.01)
        over = Objective(name).over(["easy", "hard"], [1.0, 1.0])
        sought = suggest(seen, over, [], 1.6, Random(0)).weights[0]
        assert sought == pytest.approx(best, abs=0.05)


def test_a_failed_merge_is_not_sought_again():
    failed = Observation(Coefficients.at([0.7, 0.7], 0.5), (0.0, 0.0))
    for seed in range(3):
        near = suggest([*SEEN, failed], _mean(0.5, 0.5), [0.5], 1.6, Random(seed))
        distance = max(abs(w - 0.7) for w in near.weights)
        assert near.density is None or distance > 0.1


@pytest.mark.parametrize(
    ("strategy", "cuts"),
    [
        (CoefficientSearch(k=2), range(5, 9, 3)),
        (CoefficientSearch(k=2, search={"children": 3}), range(6, 10, 2)),
        (CoefficientSearch(k=2, search={"algorithm": "random", "children": 2}), range(5, 12, 2)),
        (SteadyState(k=2), range(13, 32)),
    ],
    ids=str,
)
def test_its_state_is_in_the_journal(strategy, cuts):
    """Stopped and taken up with a smaller and then a larger budget: as if uninterrupted."""
    budget = cuts.stop
    whole = run(strategy, evaluations=budget)
    resumed = MemoryLedger()
    world = Worlds()
    expected = list(whole.models.values())
    for cut in cuts:
        resumed = MemoryLedger()
        with suppress(InterruptedError):
            run(strategy, budget, Breaking(resumed, cut))
        state = evolve(
            resumed,
            strategy,
            [MaxEvaluations(max_evaluations=budget)],
            recipe,
            Relearning(world, resumed.state),
        )
        assert [m.content_id for m in state.models.values()] == [m.content_id for m in expected]


class Relearning(Worlds):
    """The world after a restart: what was merged before is on the disk."""

    def __init__(self, world, state):
        super().__init__()
        known = [m for m in state.models.values() if m.candidate and m.merged]
        for model in known:
            self.scores_of(model)


class Breaking:
    """A ledger whose driver dies after a number of models were scored."""

    def __init__(self, ledger, scored):
        self.ledger, self.scored = ledger, scored

    @property
    def state(self):
        return self.ledger.state

    def record(self, event):
        self.ledger.record(event)
        if isinstance(event, ModelScored):
            self.scored -= 1
            if not self.scored:
                raise InterruptedError


def test_steady_state_makes_one_child_a_generation():
    state = run(SteadyState(k=2), evaluations=12)
    assert all(len(g.candidates) == 1 for g in state.generations[1:])


def test_elites_keep_a_skill_in_the_pool():
    plain, elites = run(Greedy(k=2), 6), run(Greedy(k=2), 6, pool="elites")
    assert len(plain.pool) == 2
    assert {m.name for m in plain.pool} <= {m.name for m in elites.ranking}
    best_at = {
        task: max(elites.ranking, key=lambda m, t=task: m.scores.tasks[t].value)
        for task in range(3)
    }
    pool_best = [max(m.scores.tasks[t].value for m in elites.pool) for t in range(3)]
    assert pool_best == [best_at[t].scores.tasks[t].value for t in range(3)]


def test_coefficients_fit_their_parents():
    with pytest.raises(ValueError, match="density"):
        Coefficients(method="ties", weights=(1.0, 1.0))
    with pytest.raises(ValueError, match="one weight for each parent"):
        Proposal(
            kind="grid",
            parents=("a", "b"),
            mean_score=1.0,
            reason="r",
            coefficients=Coefficients(method="task_arithmetic", weights=(1.0, 1.0, 1.0)),
        )
