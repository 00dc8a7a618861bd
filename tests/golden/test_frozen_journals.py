"""Journals of earlier versions, kept as they were written: each still reads, and still resumes.

`schema-1.jsonl` is a landscape run under `retention: pool` with a failed merge, an exploration in
two generations and an interruption. It measured every pair; a version that measures what decisions
read goes on with it to the same decisions, and tells of fewer pairs.
"""

from pathlib import Path

import pytest

from evomerge.domain.digest import decision_digest, decisions
from evomerge.domain.state import fold
from evomerge.store.journal import SCHEMA, read_journal
from evomerge.testing.landscape_run import landscape_config, run_landscape

FROZEN = sorted((Path(__file__).parent / "journals").glob("schema-*.jsonl"))


@pytest.fixture(params=FROZEN, ids=lambda path: path.stem)
def frozen(request):
    return request.param


def digest_of(frozen):
    return frozen.with_suffix(".digest").read_text().strip()


def test_every_schema_has_a_frozen_journal():
    assert [path.stem for path in FROZEN] == [f"schema-{n}" for n in range(1, SCHEMA + 1)]


def test_it_reads_as_it_was_decided(frozen):
    entries = read_journal(frozen).entries
    state = fold(entries)
    kinds = {model.kind for model in state.models.values()}
    assert kinds == {"foundation", "greedy", "exploration"}
    assert [model.failure.attempts for model in state.models.values() if model.failure] == [2]
    assert "run_resumed" in {entry.event.type for entry in entries}
    assert decision_digest(state) == digest_of(frozen)


def test_it_resumes_from_everywhere_after_its_failure(frozen, tmp_path):
    lines = frozen.read_bytes().splitlines(keepends=True)
    entries = read_journal(frozen).entries
    types = [entry.event.type for entry in entries]
    before = decisions(fold(entries))
    for count in range(types.index("candidate_failed") + 1, len(lines), 5):
        root = tmp_path / str(count)
        journal = root / "runs/landscape/journal.jsonl"
        journal.parent.mkdir(parents=True)
        journal.write_bytes(b"".join(lines[:count]))
        # The store is empty: recorded models are made again when their weights are needed.
        state = run_landscape(root, landscape_config(retention="pool"))
        now = decisions(state)
        assert {**now, "kinship": ()} == {**before, "kinship": ()}, f"after {count} events"
        assert 0 < len(now["kinship"]) <= len(before["kinship"])
        assert all(reading in before["kinship"] for reading in now["kinship"])
        assert journal.read_bytes().startswith(b"".join(lines[:count]))
