"""The guard: a child of high perplexity is scored, but it has no part in the search."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.analysis.curves import steps
from evomerge.comparison.members import member_of
from evomerge.config import Config
from evomerge.domain.baseline import baseline_of
from evomerge.domain.digest import decision_digest, decisions
from evomerge.domain.guard import Guard, best_perplexity, shown
from evomerge.domain.kinship import KinshipReading
from evomerge.domain.model import Model
from evomerge.domain.scores import Perplexity
from evomerge.domain.state import fold
from evomerge.imagined.world import ImaginedExecutor, MemoryLedger, imagine, points
from evomerge.strategies import STRATEGIES

NAMES = ["a", "b", "c"]
OWN = sorted(STRATEGIES.own)


def scored(value, perplexity):
    measured = None if perplexity is None else Perplexity(value=perplexity, tokens=100)
    return points(value).model_copy(update={"perplexity": measured})


def model(name, perplexity):
    return Model(name, "foundation", 0, name, scores=scored(50.0, perplexity))


def run(guard, strategy="greedy", seed=0, evaluations=20):
    """A search in which every other child is the best so far and has lost its language."""
    luck = Random(seed)

    def scores(each):
        broken = bool(each.parents) and luck.random() < 0.5
        return scored(
            luck.uniform(90, 100) if broken else luck.uniform(0, 50), 500 if broken else 20
        )

    config = Config.model_validate(
        {
            "run": {"name": "guarded", "seed": seed},
            "base_model": "base",
            "foundation_models": NAMES,
            "strategy": {"name": strategy},
            "merge": {"method": "ties"},
            "evaluation": {"tasks": ["t"], "guard": guard},
            "stopping": [{"max_evaluations": evaluations}],
        }
    )
    ledger = MemoryLedger()
    executor = ImaginedExecutor(
        scores, lambda a, b: KinshipReading(models=(a.name, b.name), pcc=luck.random())
    )
    return imagine(config, executor, ledger=ledger), ledger.entries


def test_a_child_above_the_bound_is_told_why():
    guard, foundation = Guard(text="default", worse_than=1.3), [model("a", 80.0), model("b", 66.0)]
    assert guard.against(scored(1, 85.8), foundation) is None
    assert guard.against(scored(1, 85.9), foundation) == (
        "perplexity 85.90 is above 1.3 × 66.00, that of b"
    )
    assert Guard(text="default").against(scored(1, 1e9), foundation) is None
    assert guard.against(scored(1, None), foundation) is None
    assert guard.against(scored(1, 1e9), [model("a", None)]) is None


def test_the_reference_is_the_lowest_perplexity():
    assert best_perplexity([model("b", 66.0), model("a", 66.0), model("c", 9.0)]) == (9.0, "c")
    assert best_perplexity([model("a", None)]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.4321, "5.432"),
        (66.0, "66.00"),
        (812.44, "812.4"),
        (43197.2, "43,197"),
        (1.23e6, "1.23e+06"),
    ],
)
def test_a_perplexity_has_four_digits(value, text):
    assert shown(value) == text


@pytest.mark.parametrize("strategy", OWN)
def test_a_child_that_is_kept_out_has_no_part_in_the_search(strategy):
    state, entries = run({"worse_than": 1.3}, strategy)
    out = {name for name, each in state.models.items() if each.kept_out}
    assert out, "the test needs children that are kept out"
    assert {each.name for each in state.ranking} == set(state.models) - out
    assert state.best.name not in out
    assert not out & {each.name for each in state.finalists}
    for generation in state.generations:
        assert not out & {*generation.pool}
    parents = {name for each in state.models.values() for name in each.parents}
    assert not out & parents
    assert state.models.kept_out == len(out)
    assert state.evaluations == len(state.models)
    assert all(state.tried(*state.models[name].parents) for name in out)
    assert not out & {step.best.name for step in steps(state)}
    assert member_of("m", entries, {}).best.name == state.best.name


def test_without_a_bound_perplexity_is_only_recorded():
    state, _ = run("default")
    plain, _ = run("none")
    assert state.models.kept_out == 0
    assert state.best.perplexity == 500
    assert plain.start.guard is None
    assert [each.name for each in state.ranking] == [each.name for each in plain.ranking]


@given(st.data())
def test_the_decision_does_not_depend_on_where_the_journal_is_cut(data):
    state, entries = run({"worse_than": 1.3}, "kinship")
    cut = data.draw(st.integers(0, len(entries)))
    assert fold(entries[cut:], fold(entries[:cut])) == state
    assert decision_digest(fold(entries)) == decision_digest(state)


def test_a_digest_covers_perplexity_only_where_it_was_measured():
    with_guard, _ = run("default")
    without, _ = run("none")
    covered = decisions(without)["models"][0]["scores"]
    assert "perplexity" in decisions(with_guard)["models"][0]["scores"]
    assert "perplexity" in covered  # the imagined executor measures it in any case
    bare = without.models["a"].scores.model_copy(update={"perplexity": None})
    assert "perplexity" not in decisions(fold_with(without, bare))["models"][0]["scores"]


def fold_with(state, scores):
    from dataclasses import replace

    models = state.models.changed(replace(state.models["a"], scores=scores))
    return replace(state, models=models)


def test_the_best_merge_of_a_grid_is_one_that_is_not_kept_out():
    state, _ = run({"worse_than": 1.3}, "seed_grid")
    grid = baseline_of(state)
    assert grid.best.kept_out is None
    assert grid.merges == len([m for m in state.models.values() if m.kind == "grid"])


def test_a_proposal_of_another_package_with_a_kept_out_parent_is_dropped():
    from evomerge.evolution import propose
    from evomerge.strategies.greedy import Greedy
    from evomerge.strategies.steps import GREEDY, propose_merge

    state, _ = run({"worse_than": 1.3})
    out = next(each for each in state.models.values() if each.kept_out)

    class Careless(Greedy):
        def propose(self, state, kinship, rng):
            return (propose_merge(GREEDY, (out, state.best), "why not"),)

    assert propose(state, Careless(), ()) == []
