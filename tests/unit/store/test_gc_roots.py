"""What runs of one folder need of each other, and how often they are asked."""

from collections import Counter

import pytest

from evomerge.domain.errors import DamagedError
from evomerge.store.artefacts import Store
from evomerge.store.gc_roots import NeededElsewhere, needed_weights, states_of
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import landscape_config, run_landscape


@pytest.fixture
def runs(tmp_path):
    run_landscape(tmp_path, landscape_config(retention="best"))
    return tmp_path / "runs"


@pytest.fixture
def reads(monkeypatch):
    """How often each run's journal is read."""
    counts, read = Counter(), RunDirectory.read

    def counted(self):
        counts[self.name] += 1
        return read(self)

    monkeypatch.setattr(RunDirectory, "read", counted)
    return counts


def test_the_journals_beside_a_run_are_read_again_when_they_grew(runs, reads):
    (first,) = runs.glob("*/journal.jsonl")
    needed = needed_weights(states_of(runs))
    elsewhere = NeededElsewhere(RunDirectory(runs / "mine"))
    reads.clear()
    assert elsewhere() == elsewhere() == needed != set()
    assert reads == {first.parent.name: 1}
    lines = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join(lines[:-1]))
    assert elsewhere() == needed_weights(states_of(runs)) > needed, "it is not finished any more"
    assert elsewhere() > needed
    assert reads[first.parent.name] == 3
    assert NeededElsewhere(RunDirectory(first.parent))() == set(), "a run is not beside itself"


def test_weights_are_not_pruned_while_a_journal_beside_cannot_be_read(runs):
    (journal,) = runs.glob("*/journal.jsonl")
    elsewhere = NeededElsewhere(RunDirectory(runs / "mine"))
    elsewhere()
    journal.write_bytes(journal.read_bytes().replace(b'"number":2', b'"number":7', 1) + b"\n")
    with pytest.raises(DamagedError):
        elsewhere()
    journal.unlink()
    with pytest.raises(DamagedError):
        elsewhere()


def test_a_driver_prunes_each_model_once(tmp_path, monkeypatch):
    pruned, prune = Counter(), Store.prune

    def counted(self, name, *suffixes):
        pruned[name] += 1
        return prune(self, name, *suffixes)

    monkeypatch.setattr(Store, "prune", counted)
    state = run_landscape(tmp_path, landscape_config(retention="best"))
    merged = [model for model in state.models.values() if model.merged]
    assert len(pruned) == len({model.content_id for model in merged}) - 1
    assert set(pruned.values()) == {1}
