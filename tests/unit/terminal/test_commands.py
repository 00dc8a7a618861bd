"""`status`, `list`, `tree` and `show` on run folders."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from evomerge.domain.errors import UsageError
from evomerge.domain.events import ModelMerged, ModelScored
from evomerge.store.progress_file import ProgressFile
from evomerge.store.run_directory import RunDirectory

from .conftest import Story, first_generation, second_generation, whole_run


def write(story: Story, path: Path) -> Path:
    """The run folder of a story."""
    journal = RunDirectory(path).start(story.entries[0], "run: {}\n", {})
    for entry in story.entries[1:]:
        journal.append(entry)
    journal.close()
    return path


def call(name: str, *arguments: object) -> Result:
    """Run one command; an error is raised."""
    command = import_module(f"evomerge.cli.{name}").command
    assert isinstance(command, click.Command)
    return CliRunner().invoke(command, [str(each) for each in arguments], catch_exceptions=False)


def document(name: str, *arguments: object) -> Any:
    """The JSON that a command prints."""
    return json.loads(call(name, *arguments, "--json").stdout)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder with a finished run and a stopped one."""
    folder = tmp_path / "runs"
    write(whole_run(Story()), folder / "tiny")
    write(second_generation(first_generation(Story(name="[i]b"))), folder / "[i]b")
    (folder / "store").mkdir()
    return folder


def test_status_of_a_finished_run(runs: Path) -> None:
    text = call("status", "tiny", "--dir", runs).stdout
    assert "tiny  finished" in text
    assert "model-2-exp  58.40 ± 2.4  +14.15 over gamma (44.25)" in text
    assert "resume" not in text


def test_status_of_a_stopped_run_says_how_to_go_on(runs: Path) -> None:
    text = call("status", "[i]b", "--dir", runs).stdout
    assert "[i]b  stopped" in text
    assert "2, 1 of 4 models done" in text
    assert f"evomerge resume '[i]b' --dir {runs}" in text


def test_status_of_a_run_at_work(runs: Path) -> None:
    directory = RunDirectory(runs / "[i]b")
    with directory.driven():
        found = document("status", directory.path)
    assert found["state"] == "running"
    assert found["holder"]
    assert found["resume"] is None


def test_status_tells_what_each_host_did_and_does(runs: Path) -> None:
    story = first_generation(Story(name="far"))
    merged, scored = (
        next(entry.event for entry in story.entries if isinstance(entry.event, kind))
        for kind in (ModelMerged, ModelScored)
    )
    story.tell(merged.model_copy(update={"host": "node-b"}))
    story.tell(scored.model_copy(update={"model": merged.model, "host": "node-a"}))
    directory = RunDirectory(write(story, runs / "far"))
    assert "node-a: 0 merged, 1 scored " in call("status", directory.path).stdout
    with directory.driven(), ProgressFile(directory.progress) as progress_file:
        progress_file.on_progress("model-2-1", "score", 3, 10, "node-b")
        text, found = call("status", directory.path).stdout, document("status", directory.path)
    assert "node-b: 1 merged, 0 scored; now scoring model-2-1" in text
    (task,) = found["tasks"]
    assert (task["model"], task["done"], task["host"]) == ("model-2-1", 3, "node-b")
    shown = document("show", directory.path, merged.model)
    assert (shown["merged_on"], shown["scored_on"]) == ("node-b", "node-a")


def test_status_as_json(runs: Path) -> None:
    found = document("status", runs / "tiny")
    assert found["format"] == 1
    assert found["state"] == "finished"
    assert found["best"]["name"] == "model-2-exp"
    assert found["gain_over_foundation"] == pytest.approx(14.15)
    assert [model["name"] for model in found["pool"]] == ["model-2-exp", "model-2-1", "model-1-2"]
    assert (found["merges"], found["evaluations"], found["failures"]) == (9, 13, 1)
    assert found["reused"] == 2
    assert found["generations"][1]["pool"] == ["model-1-2", "model-1-4", "model-1-1"]
    assert found["last_event"] == "run_finished"
    assert found["last_event_age_seconds"] > 0


def test_every_documented_key_is_there(runs: Path) -> None:
    command = import_module("evomerge.cli.status").command
    text = command.help.replace('"running|stopped|finished"', "").replace('"command"', "")
    for key in document("status", runs / "tiny"):
        assert f'"{key}"' in text


def test_list_shows_every_run_on_a_line(runs: Path) -> None:
    lines = call("list", "--dir", runs).stdout.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:2] == ["[i]b", "stopped"]
    assert lines[2].split()[:6] == ["tiny", "finished", "kinship", "2", "model-2-exp", "58.40"]


def test_list_passes_over_a_damaged_run(runs: Path) -> None:
    journal = runs / "tiny" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"garbage\n", *lines[2:]]))
    result = call("list", "--dir", runs)
    assert "damaged" in result.stdout
    assert "stopped" in result.stdout
    assert result.stderr.startswith("tiny: ")
    found = {run["name"]: run for run in document("list", "--dir", runs)["runs"]}
    assert found["tiny"]["state"] == "damaged"
    assert found["tiny"]["damage"]


def test_list_of_nothing(tmp_path: Path) -> None:
    result = call("list", "--dir", tmp_path / "none")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "no runs below" in result.stderr
    assert document("list", "--dir", tmp_path / "none") == {"format": 1, "runs": []}


def test_tree_of_the_best_and_of_another(runs: Path) -> None:
    assert call("tree", "tiny", "--dir", runs).stdout.startswith("model-2-exp ")
    assert call("tree", "tiny", "model-2-1", "--dir", runs).stdout.startswith("model-2-1 ")
    found = document("tree", "tiny", "--dir", runs)
    assert found["model"] == "model-2-exp"
    assert [m["name"] for m in found["models"]] == [
        "model-2-exp",
        "model-1-2",
        "delta",
        "alpha",
        "gamma",
    ]


def test_show(runs: Path) -> None:
    assert "its least related of 3" in call("show", "tiny", "model-2-exp", "--dir", runs).stdout
    found = document("show", "tiny", "model-2-exp", "--dir", runs)
    assert found["parents"] == ["model-1-2", "delta"]
    assert found["recipe"]["method"] == "slerp"
    assert found["scores"]["tasks"][0]["task"] == "reverse"
    assert found["rank"] == 1
    failed = document("show", "tiny", "model-1-6", "--dir", runs)
    assert failed["failure"]["reason"] == "NaN in lm_head.weight"
    assert failed["score"] is None


def test_an_unknown_model_names_the_nearest(runs: Path) -> None:
    with pytest.raises(UsageError, match="did you mean model-2-exp"):
        call("show", "tiny", "model-2-ex", "--dir", runs)
    with pytest.raises(UsageError, match="its models: alpha"):
        call("tree", "tiny", "zzz", "--dir", runs)


def test_an_unknown_run_is_named(runs: Path) -> None:
    with pytest.raises(UsageError, match="tin"):
        call("status", "tin", "--dir", runs)


def test_no_model_to_draw_a_tree_of(tmp_path: Path) -> None:
    write(Story(), tmp_path / "new")
    with pytest.raises(UsageError, match="no model of new is scored yet"):
        call("tree", "new", "--dir", tmp_path)
    assert "no model is scored yet" in call("status", "new", "--dir", tmp_path).stdout
