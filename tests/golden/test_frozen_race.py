"""A journal of a version that stopped scoring children early: it reads, verifies and goes on.

`race.jsonl` is a landscape run with k = 2 under `retention: pool` in which four
children lost a race.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import PreflightError
from evomerge.domain.state import fold
from evomerge.store.artefacts import Store
from evomerge.store.journal import read_journal
from evomerge.store.samples import evaluation_name
from evomerge.store.verification import verify
from evomerge.testing.landscape_run import (
    LandscapeWorkplace,
    landscape_config,
    run_landscape,
)

FROZEN = Path(__file__).parent / "journals/race.jsonl"
DIGEST = FROZEN.with_suffix(".digest").read_text().strip()
LOST = ["model-2-exp", "model-3-1", "model-3-exp", "model-4-exp"]


@pytest.fixture
def state():
    return fold(read_journal(FROZEN).entries)


@pytest.fixture
def begun(tmp_path):
    """Writes the first events of the journal as an unfinished run; its journal."""

    def write(count):
        journal = tmp_path / "runs/landscape/journal.jsonl"
        journal.parent.mkdir(parents=True)
        journal.write_bytes(b"".join(FROZEN.read_bytes().splitlines(keepends=True)[:count]))
        return journal

    return write


def go_on(root, **options):
    config = landscape_config(
        strategy={"name": "kinship", "k": 2},
        stopping=[{"max_generations": 4}],
        retention="pool",
    )
    return run_landscape(root, config, **options)


def test_it_reads_as_it_was_decided(state):
    assert decision_digest(state) == DIGEST
    assert [model.name for model in state.models.values() if model.race] == LOST


def test_a_model_that_lost_is_ranked_last_by_its_estimate_and_in_no_pool(state):
    last = state.ranking[-len(LOST) :]
    assert {model.name for model in last} == set(LOST)
    assert all(model.score == model.race.estimate for model in last)
    assert last[0].score > state.models["birch"].score
    assert not set(LOST) & {name for each in state.generations for name in each.pool}
    assert not set(LOST) & {model.name for model in state.pool}


def test_its_logs_are_verified_where_the_race_left_them(state, tmp_path):
    store = Store(tmp_path)
    for name in LOST:
        model = state.models[name]
        store.obtain(
            evaluation_name(model.content_id, model.race.id),
            lambda into: (into / "scores.json").write_text("{}") and None,
            lambda: False,
        )
    found = [each for each in verify(state, store) if "race1-" in each.name]
    assert [each.verdict for each in found] == ["whole"] * len(LOST)
    model = state.models[LOST[0]]
    log = store.path(evaluation_name(model.content_id, model.race.id)) / "scores.json"
    log.chmod(0o644)
    log.write_text("{ }")
    assert next(f.verdict for f in verify(state, store) if model.race.id in f.name) == "damaged"


def test_a_finished_run_is_left_as_it_is(begun, tmp_path):
    journal = begun(None)
    assert decision_digest(go_on(tmp_path)) == DIGEST
    assert journal.read_bytes() == FROZEN.read_bytes()


def test_an_unfinished_run_names_what_was_taken_out_since(begun, tmp_path):
    class Changed(LandscapeWorkplace):
        @property
        def setting(self):
            return replace(super().setting, config_id="another")

    journal = begun(31)
    (journal.parent / "config.yaml").write_text("evaluation:\n  racing: 0.4\n")
    with pytest.raises(PreflightError, match=r"yaml:2: evaluation\.racing: taken out in"):
        go_on(tmp_path, workplace=Changed(tmp_path))


@pytest.mark.parametrize("count", [27, 33])
def test_an_unfinished_run_goes_on_under_recorded_drift_and_scores_in_full(begun, tmp_path, count):
    journal = begun(count)
    with pytest.raises(PreflightError, match="--accept-drift"):
        go_on(tmp_path)
    before = {
        model.name for model in fold(read_journal(journal).entries).models.values() if model.race
    }
    state = go_on(tmp_path, accept_drift=True)
    assert state.finished
    assert {model.name for model in state.models.values() if model.race} == before
    assert not before & {name for each in state.generations for name in each.pool}
    drift = [e.event.drift for e in read_journal(journal).entries if e.event.type == "run_resumed"]
    assert len(drift) == 1
    assert drift[0]
