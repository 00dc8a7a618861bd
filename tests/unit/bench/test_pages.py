"""The benchmark of pages makes the runs that it says, and both kinds of journals have pages."""

import importlib
from itertools import combinations
from pathlib import Path

import pytest

from evomerge.domain.kinship import pair
from evomerge.domain.state import fold
from evomerge.store.run_directory import RunDirectory

BENCH = Path(__file__).parents[3] / "scripts" / "bench"


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("pages")


@pytest.mark.parametrize("every_pair", [False, True])
def test_new_runs_hold_few_pairs_and_earlier_ones_all(pages, tmp_path, every_pair):
    runs = tmp_path / "runs"
    pages.make_runs(runs, 45, every_pair)
    for name in ("kinship", "greedy"):
        state = fold(RunDirectory(runs / name).read())
        assert state.finished
        assert state.evaluations == 45
        chosen_from = state.generations[-2].number
        known = [m.name for m in state.models.values() if m.generation <= chosen_from]
        pairs = {pair(*each) for each in combinations(known, 2)}
        assert (pairs <= set(state.readings)) == every_pair
