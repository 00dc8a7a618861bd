"""The number of workers changes no decision and no number, on real tiny models."""

from evomerge.domain.digest import decision_digest
from evomerge.domain.events import ModelScored
from evomerge.domain.state import fold
from evomerge.store.journal import read_journal

from .conftest import NAME, small_run


def test_two_scorers_and_two_mergers_decide_as_one_of_each(tiny, evomerge, finished, tmp_path):
    workers = ("execution.devices=[cpu*2]", "execution.merge_workers=2")
    done = evomerge(*small_run(tmp_path, tiny, *workers))
    assert done.returncode == 0, done.stderr
    entries = read_journal(tmp_path / NAME / "journal.jsonl").entries
    assert not [e for e in entries if isinstance(e.event, ModelScored) and e.event.reused]
    logs = {path.stem for path in (tmp_path / NAME / "logs").iterdir()}
    assert {"score-1", "merge-1"} <= logs
    one = fold(read_journal(finished[0] / NAME / "journal.jsonl").entries)
    assert len(one.models) > 6
    assert decision_digest(fold(entries)) == decision_digest(one)
