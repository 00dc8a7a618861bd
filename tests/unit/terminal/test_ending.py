"""The last lines of a run name its report, its weights and two commands that work when pasted."""

import shlex

import pytest

from evomerge.cli import cli
from evomerge.domain.state import fold
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.ending import ending_of
from evomerge.testing.landscape_run import landscape_config, run_landscape


@pytest.fixture
def run(tmp_path):
    run_landscape(tmp_path, landscape_config(stopping=[{"max_generations": 1}]))
    return RunDirectory(tmp_path / "runs/landscape")


def parsed(command):
    """The arguments of a command of evomerge; raises if there is no such option or command."""
    program, name, *words = shlex.split(command)
    assert program == "evomerge"
    return cli.get_command(None, name).make_context(name, words).params


def test_a_finished_run_is_taken_away_or_extended(run, tmp_path, monkeypatch):
    state = fold(run.read())
    best = state.best.name
    (run.path / "report.html").write_text("a page")
    (run.models / best / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOMERGE_RUNS", raising=False)
    ending = ending_of(run, state)
    assert ending.report == "runs/landscape/report.html"
    assert ending.weights == f"runs/landscape/models/{best}"
    assert ending.commands == (
        f"evomerge export landscape --to landscape-{best}",
        "evomerge resume landscape --more 10",
    )
    assert ending.lines == [
        "report   runs/landscape/report.html",
        f"weights  runs/landscape/models/{best}",
        f"next     {ending.commands[0]}",
        f"         {ending.commands[1]}",
    ]
    (tmp_path / f"landscape-{best}").mkdir()
    assert f"--to landscape-{best}-2" in ending_of(run, state).commands[0]


def test_elsewhere_the_folder_is_named(run, tmp_path, monkeypatch):
    (tmp_path / "else where").mkdir()
    monkeypatch.chdir(tmp_path / "else where")
    ending = ending_of(run, fold(run.read()))
    assert ending.report is None
    assert all(f"--dir {run.path.parent}" in command for command in ending.commands)
    first, second = map(parsed, ending.commands)
    assert first["runs_dir"] == second["runs_dir"] == run.path.parent
    assert second["more"] == 10


def test_what_is_gone_is_not_named(run):
    state = fold(run.read())
    assert ending_of(run, state).weights is None, "there is a link, and no weights behind it"


def test_an_unfinished_run_goes_on(run):
    state = fold(run.read()[:-1])
    assert [each.split()[1] for each in ending_of(run, state).commands] == ["resume", "status"]


def test_a_foundation_model_that_is_best_is_named_by_its_source(run):
    state = fold(run.read()[:6])
    assert state.best.generation == 0
    source = next(m.source for m in state.start.foundation if m.name == state.best.name)
    assert ending_of(run, state).weights == source
    assert ending_of(run, fold(run.read()[:1])).weights is None
