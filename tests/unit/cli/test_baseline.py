"""What merging all models at once gave is told beside every run over the same models and items."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from evomerge.cli import cli
from evomerge.domain.baseline import baseline_of
from evomerge.domain.population import Population
from evomerge.domain.state import fold
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import landscape_config, run_landscape

NAMES = ("greedy", "seed_grid")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A greedy search and a grid over one store."""
    root = tmp_path_factory.mktemp("baseline")
    for name in NAMES:
        config = landscape_config(
            run={"name": name, "seed": 1},
            strategy={"name": name, "k": 3},
            stopping=[{"max_generations": 2}],
        )
        run_landscape(root, config)
    return root / "runs"


def state_of(runs, name):
    return fold(RunDirectory(runs / name).read())


def call(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_grid_beside_a_search_is_its_baseline(runs):
    told = json.loads(call("status", "greedy", "--dir", runs, "--json"))["baseline"]
    grid = [m for m in state_of(runs, "seed_grid").models.values() if m.kind == "grid"]
    assert told["run"] == "seed_grid"
    assert told["evaluations"] == len(grid) == 9
    assert told["score"] == max(model.score for model in grid)
    assert "by 9 merges of all models at once" in call("status", "greedy", "--dir", runs)


def test_a_grid_is_judged_by_what_the_run_searched_for(runs):
    search, grid = state_of(runs, "greedy").under("worst"), state_of(runs, "seed_grid")
    weakest = [
        min(task.value for task in model.scores.tasks)
        for model in grid.models.values()
        if model.kind == "grid"
    ]
    assert baseline_of(search, [grid]).best.score == max(weakest)


def test_compare_and_the_report_tell_it_too(runs):
    assert "baseline: " in call("compare", *NAMES, "--dir", runs)
    assert json.loads(call("compare", *NAMES, "--dir", runs, "--json"))["baseline"]
    page = call("report", "greedy", "--dir", runs, "--no-plots").strip()
    assert "by 9 merges of all models at once" in Path(page).read_text(encoding="utf-8")


def test_a_grid_over_other_models_or_items_or_an_unfinished_one_is_none(runs):
    search, grid = state_of(runs, "greedy"), state_of(runs, "seed_grid")
    assert baseline_of(search) is None
    assert baseline_of(search, [grid])

    entries = RunDirectory(runs / "seed_grid").read()
    half = next(i for i, e in enumerate(entries) if e.event.type == "generation_proposed")
    assert baseline_of(search, [fold(entries[: half + 4])]) is None

    fewer = grid.start.model_copy(update={"foundation": grid.start.foundation[1:]})
    assert baseline_of(search, [replace(grid, started=fewer)]) is None

    rescored = Population.of(
        replace(model, scores=model.scores.model_copy(update={"evaluation_id": "evaluation1-ff"}))
        for model in grid.models.values()
    )
    assert baseline_of(search, [replace(grid, models=rescored)]) is None


def test_a_damaged_run_beside_is_passed_over(runs, tmp_path):
    damaged = runs / "damaged"
    damaged.mkdir()
    (damaged / "journal.jsonl").write_text('{"kind":"grid"}\n', encoding="utf-8")
    try:
        assert "by 9 merges" in call("status", "greedy", "--dir", runs)
    finally:
        (damaged / "journal.jsonl").unlink()
        damaged.rmdir()
