"""Two arms of a comparison, started together over one store."""

import subprocess
import sys

from evomerge.domain.digest import decision_digest
from evomerge.domain.state import fold
from evomerge.store.artefacts import Store
from evomerge.store.journal import read_journal
from evomerge.store.verification import verify
from evomerge.testing.landscape_run import landscape_config, run_landscape

ARM = """
import sys, time
from pathlib import Path
from evomerge.driver import drive
from evomerge.evolution import untested
from evomerge.testing.landscape import LandscapeMerger
from evomerge.testing.landscape_run import LandscapeWorkplace, SilentObserver, landscape_config

root, strategy = Path(sys.argv[1]), sys.argv[2]

class Slow(LandscapeMerger):
    def merge(self, operation, progress):
        time.sleep(0.05)  # so that both arms want the same child at the same time
        return super().merge(operation, progress)

config = landscape_config(run={"name": strategy, "seed": 1}, strategy={"name": strategy, "k": 3})
workplace = LandscapeWorkplace(root, config, merger=Slow())
drive(workplace, [SilentObserver()], test_gains=untested)
"""


def test_each_artefact_is_made_once_and_both_decide_as_if_alone(tmp_path):
    together = tmp_path / "together"
    strategies = ("kinship", "greedy")
    arms = [
        subprocess.Popen([sys.executable, "-c", ARM, str(together), strategy])
        for strategy in strategies
    ]
    assert [arm.wait(timeout=600) for arm in arms] == [0, 0]

    made = []
    for strategy in strategies:
        entries = read_journal(together / "runs" / strategy / "journal.jsonl").entries
        state = fold(entries)
        alone = run_landscape(
            tmp_path / strategy, landscape_config(strategy={"name": strategy, "k": 3})
        )
        assert decision_digest(state) == decision_digest(alone)
        assert not [f for f in verify(state, Store(together / "runs/store")) if f.problems]
        made += [
            (entry.event.type, state.models[entry.event.model].content_id)
            for entry in entries
            if entry.event.type in ("model_merged", "model_scored") and not entry.event.reused
        ]
    assert len(made) == len(set(made)), "nothing is made by both"
