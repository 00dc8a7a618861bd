"""The fold: state is what the journal says, however it is cut."""

import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.config import Config
from evomerge.domain.digest import decision_digest
from evomerge.domain.events import EVENT, CandidateFailed, ModelScored, RunResumed
from evomerge.domain.kinship import KinshipReading
from evomerge.domain.lineage import lineage
from evomerge.domain.model import Failure, Model
from evomerge.domain.state import Entry, RunState, apply, fold
from evomerge.imagined.world import ImaginedExecutor, MemoryLedger, imagine, points
from evomerge.store.journal import read_journal
from evomerge.testing.landscape_run import run_landscape


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    run_landscape(root)
    return read_journal(root / "runs/landscape/journal.jsonl").entries


def test_a_run_tells_its_story(entries):
    kinds = [entry.event.type for entry in entries]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    assert kinds.count("generation_finished") == 4


def test_folding_a_prefix_and_then_the_rest_is_folding_all(entries):
    whole = fold(entries)
    for cut in range(len(entries) + 1):
        assert fold(entries[cut:], fold(entries[:cut])) == whole


@given(st.data())
def test_the_order_of_completion_does_not_change_the_decisions(entries, data):
    """Merged and scored events of one generation may come in any order between its bounds."""
    shuffled, block = [], []
    for entry in entries:
        if entry.event.type in ("model_merged", "model_scored"):
            block.append(entry)
            continue
        shuffled += data.draw(st.permutations(block)) if block else []
        shuffled.append(entry)
        block = []
    assert decision_digest(fold(shuffled)) == decision_digest(fold(entries))


def test_events_survive_json(entries):
    for entry in entries:
        assert EVENT.validate_json(entry.event.model_dump_json()) == entry.event


def test_pauses_do_not_count_as_time_spent(entries):
    start = entries[0]
    later = [
        Entry(at=start.at + 10, event=RunResumed()),
        Entry(at=start.at + 1000, event=RunResumed()),
        Entry(at=start.at + 1005, event=entries[1].event),
    ]
    assert fold([start, *later]).seconds == pytest.approx(5)


def test_a_failed_model_is_never_ranked_but_stays_tried(entries):
    proposed = next(e for e in entries if e.event.type == "generation_proposed")
    state = fold(entries[: entries.index(proposed) + 1])
    name = proposed.event.candidates[0].name
    failure = Failure(stage="merge", reason="out of memory", attempts=2)
    state = fold([Entry(at=0, event=CandidateFailed(model=name, failure=failure))], state)
    assert name not in [model.name for model in state.ranking]
    assert name not in [model.name for model in state.unscored]
    assert state.tried(*state.models[name].parents)


@pytest.mark.parametrize(
    "make",
    [
        lambda entries: entries[1:],
        lambda entries: [entries[0], *entries],
        lambda entries: [*entries, entries[-1]],
        lambda entries: [
            entries[0],
            Entry(
                at=1,
                event=ModelScored(model="nobody", scores=entries[1].event.scores, seconds=0),
            ),
        ],
    ],
    ids=["no start", "two starts", "after the end", "unknown model"],
)
def test_impossible_histories_are_refused(entries, make):
    with pytest.raises(ValueError):
        fold(make(list(entries)))


def test_an_empty_journal_is_an_empty_run():
    assert fold([]) == RunState()


def test_a_lineage_is_spelled_as_long_as_it_is_short():
    """A chain doubles with every generation: 2^40 names would never be spelled."""
    models = {name: Model(name, "foundation", 0, name) for name in ("a", "b")}
    for number in range(40):
        first, second = list(models)[-2:]
        models[f"m{number}"] = Model(f"m{number}", "greedy", 1, "x", (first, second))
    assert lineage("a", models, 1) == "a"
    assert lineage("m1", models, 3) == "(b × (a × b))"
    assert lineage("m1", models, 2) is None
    assert lineage("m39", models, 1000) is None


def test_an_event_of_a_long_run_takes_as_many_steps_as_one_of_a_short_run():
    """Counted in calls of functions, so that no clock is asked."""
    state, calls = RunState(), {}
    for entry in long_run(generations=300):
        before, state = state, apply(state, entry)
        number = len(before.generations)
        if number in {30, 299}:
            calls.setdefault((entry.event.type, number), count_calls(apply, before, entry))
    kinds = {kind for kind, _ in calls}
    assert kinds == {"model_merged", "model_scored", "kinship_measured"} | {
        "generation_proposed",
        "generation_finished",
    }
    for kind in kinds:
        assert calls[kind, 299] <= 1.2 * calls[kind, 30], kind


def long_run(generations):
    """The entries of a run of so many generations of one child."""
    config = Config.model_validate(
        {
            "run": {"name": "long", "seed": 1},
            "base_model": "base",
            "foundation_models": ["a", "b", "c"],
            "strategy": {"name": "steady_state", "k": 5},
            "merge": {"method": "dare_ties"},
            "evaluation": {"tasks": ["t"]},
            "stopping": [{"max_generations": generations}],
        }
    )
    luck, ledger = Random(0), MemoryLedger()
    executor = ImaginedExecutor(
        lambda model: points(luck.uniform(0, 100)),
        lambda a, b: KinshipReading(models=(a.name, b.name), pcc=luck.random()),
    )
    imagine(config, executor, ledger=ledger)
    return ledger.entries


def count_calls(function, *arguments):
    """How many functions, C ones included, a call calls."""
    calls = []
    sys.setprofile(lambda _, event, __: calls.append(event) if event.endswith("call") else None)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return len(calls)
