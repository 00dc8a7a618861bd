"""`import evomerge` with real models: the README's notebook, from nothing to its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import evomerge

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs_to_its_end(tiny, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/tiny").symlink_to(tiny)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    words = [sys.executable, str(ROOT / "scripts/notebook.py")]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run, mine = evomerge.runs(tmp_path / "runs")
    assert (run.name, mine.name) == ("notebook", "notebook-champion")
    assert run.finished
    assert mine.finished
    assert run.models()["score"].map(lambda score: f"{score:5.1f}")[3] in done.stdout
    assert mine.models()["reused"].any(), "equal merges are not scored again"
    assert set(mine.models()["kind"]) == {"foundation", "champion"}
    assert (run.path / "skills.png").stat().st_size > 1000
    again = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr


def test_items_side_by_side_and_an_export(finished, tmp_path):
    runs, _ = finished
    run = evomerge.load("tiny-evolution", runs)
    best, parent = run.best, run.best.parents[0]
    table = run.compare(best.name, parent)
    tasks = [task.task for task in best.scores.tasks]
    assert list(dict.fromkeys(table["task"])) == tasks
    for task in best.scores.tasks:
        own = run.samples(best.name, task.task)
        assert 100 * own["value"].mean() == pytest.approx(task.value)
        assert (own["prompt"] != "").all()
    right, wrong = table[f"{best.name} value"] >= 0.5, table[f"{parent} value"] < 0.5
    assert (table["change"] == "won").equals(right & wrong)
    held_out = run.samples(best.name, tasks[0], "held_out")
    assert not set(held_out["item"]) & set(run.samples(best.name, tasks[0])["item"])
    files = run.export(tmp_path / "model")
    assert {"README.md", "config.json"} <= {file.name for file in files}
