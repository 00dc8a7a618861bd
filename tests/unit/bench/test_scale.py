"""The benchmark of long runs, and that what a run writes is linear in its children."""

import importlib.util
from pathlib import Path

import pytest

from evomerge.domain.state import fold
from evomerge.store.run_directory import RunDirectory

SCRIPT = Path(__file__).parents[3] / "scripts" / "bench" / "scale.py"


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("strategy", ["greedy", "steady_state"])
def test_the_journal_and_the_checkpoints_are_linear_in_the_children(scale, strategy, tmp_path):
    result = scale.measure(tmp_path, strategy, 30, (60, 180))
    first, last = result["rows"]
    assert (first["children"], last["children"]) == pytest.approx((60, 180), abs=30)
    assert last["checkpoints_b"] <= 1.1 * first["checkpoints_b"]
    run = RunDirectory(tmp_path / "runs" / strategy)
    assert len(list(run.generations.iterdir())) == len(fold(run.read()).generations)
    assert result["entries"] == len(run.read())
