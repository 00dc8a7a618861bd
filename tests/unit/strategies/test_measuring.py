"""What a decision reads is measured before it, and nothing else is."""

from itertools import combinations
from zlib import crc32

import pytest

from evomerge.domain.digest import decision_digest
from evomerge.domain.events import GenerationFinished, GenerationProposed, KinshipMeasured
from evomerge.domain.kinship import KinshipReading, pair
from evomerge.domain.state import RunState, apply, fold
from evomerge.evolution import evolve
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import _write_recipe, replay_config
from evomerge.imagined.world import ImaginedExecutor, MemoryLedger, imagined_start, points
from evomerge.stopping import KinshipSaturation, MaxGenerations
from evomerge.strategies.greedy import Greedy
from evomerge.strategies.kinship import KinshipGuided
from evomerge.strategies.random import RandomExploration
from evomerge.strategies.seed_grid import SeedGrid
from evomerge.strategies.steady_state import SteadyState

FIVE = (MaxGenerations(max_generations=5),)
FOUNDATION = {f"f{i}": 40.0 - i for i in range(4)}
STRATEGIES = [
    Greedy(),
    KinshipGuided(exploration={"candidates": "repository"}),
    RandomExploration(exploration={"candidates": "repository"}),
    SteadyState(),
    SeedGrid(),
]


def chance(*of):
    return crc32(repr(of).encode()) / 2**32


class Executor(ImaginedExecutor):
    """Keeps what it was asked to measure; a child is a little better or worse than its parents."""

    def __init__(self):
        super().__init__(self._score, self._reading)
        self.asked = []

    def _score(self, model):
        return points(FOUNDATION.get(model.name) or 42 + 8 * chance(model.name))

    def _reading(self, a, b):
        names = pair(a.name, b.name)
        return KinshipReading(models=names, pcc=chance("kin", *names))

    def measure(self, models, pairs):
        self.asked += [pair(*each) for each in pairs]
        return super().measure(models, pairs)


class Watched:
    """A strategy, with the pairs that it stated."""

    def __init__(self, strategy):
        self.strategy, self.k, self.kinds, self.stated = strategy, strategy.k, strategy.kinds, set()
        self.calls = []

    def pairs(self, state):
        self.calls.append(("pairs", len(state.generations)))
        pairs = self.strategy.pairs(state)
        self.stated |= {pair(*each) for each in pairs}
        return pairs

    def propose(self, state, kinship, rng):
        self.calls.append(("propose", len(state.generations)))
        assert set(kinship.values) <= self.stated, "it is told of what it stated only"
        return self.strategy.propose(state, kinship, rng)


def start(strategy):
    landscape = Landscape(format=1, name="w", foundation=FOUNDATION)
    config = replay_config(
        landscape, run={"name": "w", "seed": 3}, strategy={"name": "greedy", "k": strategy.k}
    )
    ledger = MemoryLedger()
    ledger.record(imagined_start(config, [*FOUNDATION]))
    return ledger


def run(strategy, criteria=FIVE, ledger=None, **options):
    ledger, executor = ledger or start(strategy), Executor()
    state = evolve(ledger, strategy, criteria, _write_recipe, executor, **options)
    return ledger, executor, state


def parents_in(state):
    return {
        pair(*each) for model in state.models.values() for each in combinations(model.parents, 2)
    }


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_the_stated_pairs_and_the_parents_are_measured_once_and_no_other(strategy):
    watched = Watched(strategy)
    _, executor, state = run(watched)
    assert len(executor.asked) == len(set(executor.asked))
    assert set(executor.asked) == watched.stated | parents_in(state) == set(state.readings)
    scored = [model.name for model in state.ranking]
    assert len(executor.asked) < len(list(combinations(scored, 2)))
    for model in state.models.values():
        if model.candidate is not None:
            expected = state.kinship.mean(model.parents)
            assert model.candidate.proposal.kinship == expected is not None


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_a_strategy_is_asked_once_a_generation(strategy):
    watched = Watched(strategy)
    _, _, state = run(watched)
    numbers = range(1, len(state.generations) + (not state.stop.startswith("max_generations")))
    assert watched.calls == [(call, number) for number in numbers for call in ("pairs", "propose")]


def test_what_is_carried_along_of_the_best_models_kinship_is_what_a_fresh_fold_finds():
    """Whoever asks at every event, rarely, or only at the end."""
    ledger, _, whole = run(SteadyState(), (MaxGenerations(max_generations=40),))
    always = rarely = RunState()
    bests = set()
    for place, entry in enumerate(ledger.entries, 1):
        always, rarely = apply(always, entry), apply(rarely, entry)
        assert always.relatives == fold(ledger.entries[:place]).relatives
        if place % 7 == 0:
            assert rarely.relatives == always.relatives
        bests.add(always.best and always.best.name)
    assert len(bests) > 3
    assert whole.relatives == rarely.relatives
    *_, least = whole.relatives.ranks[0]
    assert whole.kinship.between(whole.best.name, least) == min(
        value for names, value in whole.kinship.values.items() if whole.best.name in names
    )


def test_greedy_measures_the_parents_of_its_merges():
    _, executor, state = run(Greedy())
    assert set(executor.asked) == parents_in(state)


def test_a_criterion_has_its_pairs_before_the_generation_is_closed():
    rule = KinshipSaturation(threshold=0.95)
    ledger, executor, state = run(Greedy(), (rule, MaxGenerations(max_generations=4)))
    for generation in state.generations[1:]:
        assert {pair(*each) for each in combinations(generation.pool, 2)} <= set(executor.asked)
    for place, entry in enumerate(ledger.entries):
        if isinstance(entry.event, GenerationFinished) and entry.event.generation:
            before = fold(ledger.entries[:place])
            assert before.kinship.mean(entry.event.pool) is not None
    low = KinshipSaturation(threshold=-1)
    _, executor, state = run(Greedy(), (low,))
    assert len(state.generations) == 2, "no criterion applies to generation 0"
    assert state.stop.startswith("kinship_saturation")


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
@pytest.mark.parametrize("above", [None, 0.9])
def test_interrupted_after_any_event_it_decides_alike(strategy, above):
    """Between the readings of the parents and the proposal that tells of them as well."""
    ledger, _, whole = run(strategy, skip_above=above)
    kinds = [type(entry.event) for entry in ledger.entries]
    between = [
        place
        for place in range(1, len(kinds) - 1)
        if kinds[place : place + 2] == [KinshipMeasured, GenerationProposed]
    ]
    assert between
    for count in {*between, *range(1, len(kinds), 7)}:
        resumed = MemoryLedger()
        for entry in ledger.entries[: count + 1]:
            resumed.record(entry.event)
        _, _, state = run(strategy, ledger=resumed, skip_above=above)
        assert decision_digest(state) == decision_digest(whole)
