"""The commands of a run's life after its end, and the same in Python."""

import json

import pytest
from click.testing import CliRunner

import evomerge
from evomerge.cli import cli
from evomerge.testing.landscape_run import landscape_config, run_landscape


@pytest.fixture
def runs(tmp_path):
    run_landscape(tmp_path, landscape_config(stopping=[{"max_generations": 1}]))
    return tmp_path / "runs"


def said(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=True)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_run_is_renamed_bundled_unpacked_and_removed(runs, tmp_path):
    assert said("rename", "landscape", "first", "--dir", runs).strip().endswith("runs/first")
    file = tmp_path / "first.zip"
    assert str(file) in said("bundle", "first", "-o", file, "--dir", runs)
    there = tmp_path / "there"
    told = said("unbundle", file, "--as", "second", "--dir", there)
    assert f"evomerge status second --dir {there}" in told
    assert (there / "second/report.html").is_file()
    assert "second  finished" in said("status", "second", "--dir", there)
    for command in ("verify", "digest", "tree"):
        assert said(command, "second", "--dir", there)
    assert said("digest", "second", "--dir", there) == said("digest", "first", "--dir", runs)
    told = json.loads(said("rm", "second", "--dir", there, "--json"))
    assert told["removed"] is False
    assert told["bytes"] > 0
    assert "would be freed; do it with: evomerge rm second --yes" in said(
        "rm", "second", "--dir", there
    )
    assert "freed" in said("rm", "second", "--dir", there, "--yes")
    assert evomerge.runs(there) == []


def test_the_same_in_python(runs, tmp_path):
    run = evomerge.load("landscape", runs).rename("mine")
    assert run.name == run.state.start.name == "mine"
    bundle = run.bundle(tmp_path / "mine.zip")
    other = evomerge.unbundle(bundle, tmp_path / "there")
    assert [*other.models()["model"]] == [*run.models()["model"]]
    assert other.remove().freed > 0
    assert other.path.exists(), "a dry run by default"
    other.remove(dry_run=False)
    assert not other.path.exists()


def test_weights_of_a_foundation_model_are_not_the_run_s(runs, tmp_path):
    run = evomerge.load("landscape", runs)
    lines = (run.path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (run.path / "journal.jsonl").write_bytes(b"".join(lines[:6]))
    with pytest.raises(evomerge.EvomergeError, match="is a foundation model"):
        run.bundle(tmp_path / "mine.zip", weights=True)
    assert not (tmp_path / "mine.zip").exists()
