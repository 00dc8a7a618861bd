"""Merges of parents that are too alike are skipped, and other pairs take their places."""

from itertools import combinations
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.domain.digest import decision_digest, decisions
from evomerge.domain.events import MergesSkipped
from evomerge.domain.kinship import KinshipReading, pair
from evomerge.domain.model import Coefficients, SkippedMerge
from evomerge.evolution import evolve
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import _write_recipe, replay_config
from evomerge.imagined.world import ImaginedExecutor, MemoryLedger, imagined_start, points
from evomerge.stopping import MaxEvaluations, MaxGenerations
from evomerge.strategies.greedy import Greedy
from evomerge.strategies.kinship import KinshipGuided
from evomerge.strategies.random import RandomExploration
from evomerge.strategies.seed_grid import GRID
from evomerge.strategies.steps import EXPLORATION, propose_merge
from evomerge.strategies.strategy import Strategy

THREE = (MaxGenerations(max_generations=3),)


def chance(*of):
    return crc32(repr(of).encode()) / 2**32


def run(kinship, above, strategy=None, criteria=THREE, founders=4):
    """Every merge gives a child a little better than its better parent; kinship as told."""
    foundation = {f"f{i}": 40.0 - i for i in range(founders)}
    landscape = Landscape(format=1, name="w", foundation=foundation)

    def scores(model):
        return points(foundation.get(model.name) or 50 + len(model.name) + chance(model.name))

    def reading(a, b):
        return KinshipReading(models=(a.name, b.name), pcc=kinship(*pair(a.name, b.name)))

    ledger = MemoryLedger()
    strategy = strategy or Greedy()
    config = replay_config(
        landscape,
        run={"name": "w", "seed": 3},
        strategy={"name": "greedy", "k": strategy.k},
    )
    ledger.record(imagined_start(config, [*foundation]))
    executor = ImaginedExecutor(scores, reading)
    evolve(ledger, strategy, criteria, _write_recipe, executor, skip_above=above)
    return ledger.state


def table(values):
    return lambda a, b: values.get(frozenset((a, b)), 0.1)


def test_a_skipped_pair_makes_room_for_the_next_one():
    free = run(table({}), 0.99, Greedy(k=4), (MaxGenerations(max_generations=2),))
    first = [frozenset(model.parents) for model in free.at_generation(2)]
    assert len(first) == 4
    state = run(table({first[1]: 0.994}), 0.99, Greedy(k=4), (MaxGenerations(max_generations=2),))
    merged = [frozenset(model.parents) for model in state.at_generation(2)]
    assert len(merged) == 4, "k pairs are merged all the same"
    assert first[1] not in merged
    assert merged[:3] == [first[0], *first[2:]]
    (skipped,) = state.skipped
    assert frozenset(skipped.parents) == first[1]
    assert skipped.reason.startswith("kinship 0.994 of ")
    assert skipped.reason.endswith(" is above 0.99")
    assert [model.name for model in state.at_generation(2)] == [
        f"model-2-{number}" for number in range(1, 5)
    ]


def test_skipped_pairs_of_a_small_budget_do_not_eat_it():
    free = run(table({}), None, criteria=(MaxEvaluations(max_evaluations=6),))
    due = [frozenset(model.parents) for model in free.at_generation(1)]
    assert len(due) == 2
    state = run(table({due[0]: 1.0}), 0.9, criteria=(MaxEvaluations(max_evaluations=6),))
    assert len(state.at_generation(1)) == 2
    assert [frozenset(merge.parents) for merge in state.skipped] == [due[0]], (
        "a pair that there is no evaluation left for is not judged"
    )


def test_where_every_merge_is_skipped_the_run_ends_and_says_why():
    state = run(lambda a, b: 0.999, 0.99)
    assert state.finished
    assert not any(model.parents for model in state.models.values())
    assert len(state.skipped) == 6
    assert (
        state.stop == "exhausted: no pair is left to merge but 6 skipped for a kinship above 0.99"
    )


def test_an_undefined_kinship_and_the_limit_itself_are_merged():
    assert not run(lambda a, b: None, -1.0).skipped
    assert not run(lambda a, b: 0.99, 0.99).skipped


def test_off_by_default():
    assert not run(lambda a, b: 1.0, None).skipped


@pytest.mark.parametrize(
    "strategy",
    [
        Greedy(),
        KinshipGuided(exploration={"candidates": "repository"}),
        RandomExploration(k=2, exploration={"candidates": "repository"}),
    ],
    ids=str,
)
@given(data=st.data())
def test_laws_of_skipping(strategy, data):
    seed = data.draw(st.integers(0, 10**6))
    above = data.draw(st.floats(-1, 0.99))

    def kinship(a, b):
        value = 2 * chance(seed, *sorted((a, b))) - 1
        return None if value < -0.9 else value

    state = run(kinship, above, strategy, founders=3)
    merged = {frozenset(model.parents) for model in state.models.values() if model.parents}
    skipped = [frozenset(merge.parents) for merge in state.skipped]
    assert len(set(skipped)) == len(skipped), "a skipped merge is never proposed again"
    assert not merged & set(skipped)
    for merge in state.skipped:
        assert merge.kinship == state.kinship.between(*merge.parents) > above
        a, b = merge.parents
        assert state.models[a].generation < merge.generation
        assert state.models[b].generation < merge.generation
    for parents in merged:
        value = state.kinship.between(*parents)
        assert value is None or value <= above
    first = {frozenset(pair) for pair in combinations(["f0", "f1", "f2"], 2)}
    assert first == {pair for pair in merged | set(skipped) if pair <= {"f0", "f1", "f2"}}, (
        "of the foundation models every pair is merged or skipped"
    )


@given(st.floats(-0.99, 0.99), st.floats(1e-9, 0.01))
def test_the_reason_never_contradicts_itself(above, more):
    merge = SkippedMerge(
        generation=1, kind="greedy", parents=("a", "b"), kinship=above + more, above=above
    )
    told = float(merge.reason.split()[1])
    assert told > above or told == pytest.approx(above + more, rel=1e-8)


def test_the_digest_covers_what_was_skipped_and_only_then_has_the_key():
    state = run(lambda a, b: 0.999 if {a, b} == {"f0", "f1"} else 0.1, 0.99)
    assert decisions(state)["skipped"][0]["parents"] == ["f0", "f1"]
    without = run(table({}), 0.99)
    assert "skipped" not in decisions(without)
    assert decision_digest(without) == decision_digest(run(table({}), None))


def test_a_skip_of_another_generation_or_of_nobody_cannot_be_in_a_journal():
    state = run(table({}), None, criteria=(MaxGenerations(max_generations=1),))
    ledger = MemoryLedger()
    ledger.record(state.started)
    for merge, what in (
        ({"generation": 2, "parents": ("f0", "f1")}, "due"),
        ({"generation": 1, "parents": ("f0", "f1")}, "due"),  # generation 0 is still open
    ):
        event = MergesSkipped(merges=(SkippedMerge(kind="greedy", kinship=1, above=0.9, **merge),))
        with pytest.raises(ValueError, match=what):
            ledger.record(event)


class Stubborn(Strategy):
    """Wants the same pair, and its additive kin, for ever; and a search over all."""

    kinds = (EXPLORATION, GRID)

    def most_children(self, foundation):
        return 3

    def propose(self, state, kinship, rng):
        parents = sorted(state.at_generation(0), key=lambda model: model.name)
        pair, every = parents[:2], parents
        weights = Coefficients(method="task_arithmetic", weights=(1.0, 0.5))
        of_all = Coefficients(method="task_arithmetic", weights=(0.5,) * len(every))
        return (
            propose_merge(EXPLORATION, pair, "again"),
            propose_merge(EXPLORATION, pair, "again, added", weights),
            propose_merge(GRID, every, "all", of_all),
        )


def test_a_strategy_that_insists_is_not_asked_for_ever_and_searches_are_not_judged():
    state = run(lambda a, b: 0.999, 0.99, Stubborn(), (MaxGenerations(max_generations=2),))
    assert state.finished
    assert [merge.parents for merge in state.skipped] == [("f0", "f1")]
    assert {model.kind for model in state.models.values()} == {"foundation", "grid"}
