"""The number of workers changes no decision and no number, on real tiny models."""

from evomerge.domain.digest import decision_digest
from evomerge.domain.events import ModelScored
from evomerge.domain.state import fold
from evomerge.store.journal import read_journal

from .conftest import ROOT

SMALL = (
    "foundation_models=[runs/tiny/models/reverse, runs/tiny/models/sort, runs/tiny/models/rotate]",
    "evaluation.tasks=[{name: tiny_sort, metric: exact_match, limit: 24}, {name: tiny_rotate}]",
    "stopping=[{max_generations: 1}]",
    "execution.report=false",
)


def test_three_scorers_and_two_mergers_decide_as_one_of_each(tiny, evomerge, tmp_path):
    states = []
    for devices, mergers in (("cpu", 1), ("cpu*3", 2)):
        runs = tmp_path / str(mergers)
        settings = (
            *SMALL,
            f"run.dir={runs}",
            f"execution.devices=[{devices}]",
            f"execution.merge_workers={mergers}",
        )
        words = [word for setting in settings for word in ("--set", setting)]
        done = evomerge("run", ROOT / "configs" / "tiny.yaml", *words)
        assert done.returncode == 0, done.stderr
        entries = read_journal(runs / "tiny-evolution" / "journal.jsonl").entries
        assert not [e for e in entries if isinstance(e.event, ModelScored) and e.event.reused]
        logs = {path.stem for path in (runs / "tiny-evolution" / "logs").iterdir()}
        assert {"score-2", "merge-1"} <= logs or mergers == 1
        states.append(fold(entries))
    one, several = states
    assert len(one.models) == 6
    assert decision_digest(several) == decision_digest(one)
