"""`evomerge run --arms`, driven over the landscape."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evomerge import wiring
from evomerge.cli import cli
from evomerge.configfile import config_id, dump
from evomerge.domain.errors import SignalledError, UsageError
from evomerge.domain.state import fold
from evomerge.store.journal import read_journal
from evomerge.testing.landscape import LandscapeMerger
from evomerge.testing.landscape_run import LandscapeWorkplace, landscape_config


class Workplace(LandscapeWorkplace):
    """The landscape, with the config of its run as a real workplace has it."""

    def __init__(self, config, root, **parts):
        super().__init__(root, config, **parts)

    @property
    def setting(self):
        own = {"config_id": config_id(self.config), "config": dump(self.config)}
        return replace(super().setting, **own)


class Interrupted(LandscapeMerger):
    """Sends the driver a SIGINT before its nth merge."""

    def __init__(self, merges):
        self.left = merges

    def merge(self, operation, progress):
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        self.left -= 1
        return super().merge(operation, progress)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """(run the command with these words, the runs folder); the real driver over the fakes."""
    config = landscape_config(
        run={"name": "land", "seed": 1, "dir": str(tmp_path / "runs")},
        execution={"report": False},  # drawing takes longer than all the rest
    )
    path = tmp_path / "land.yaml"
    document = config.model_dump(mode="json", by_alias=True)
    path.write_text(yaml.safe_dump(document))
    made = []

    def workplace(config, run, *_told):
        made.append(run.name)
        return Workplace(config, tmp_path, **workplace.parts)

    workplace.parts = {}
    monkeypatch.setattr(wiring, "LocalWorkplace", workplace)

    def command(*words):
        return cli.main(["run", str(path), *words, "--plain"], standalone_mode=False)

    command.workplace = workplace
    return command, tmp_path / "runs"


def names(runs: Path):
    return sorted(path.parent.name for path in runs.glob("*/journal.jsonl"))


def test_every_arm_is_a_run_and_the_comparison_ends_it(place, capsys):
    command, runs = place
    command("--arms", "greedy,kinship", "--json")
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert [arm["arm"] for arm in document["arms"]] == ["greedy", "kinship"]
    assert names(runs) == ["land-greedy", "land-kinship"]
    assert "arm 2 of 2: kinship (run land-kinship)" in said.err
    assert document["arms"][1]["runs"][0]["reused"] > 0, "both work over one store"

    before = {p: p.read_bytes() for p in runs.glob("*/journal.jsonl")}
    command("--arms", "greedy,kinship")
    assert "kinship against greedy" in capsys.readouterr().out
    assert before == {p: p.read_bytes() for p in runs.glob("*/journal.jsonl")}


def test_repeats_count_the_seed_up(place, capsys):
    command, runs = place
    command("--arms", "greedy,random", "--repeats", "2", "--json")
    document = json.loads(capsys.readouterr().out)
    assert names(runs) == [
        "land-greedy-seed1", "land-greedy-seed2", "land-random-seed1", "land-random-seed2",
    ]  # fmt: skip
    assert [[r["seed"] for r in arm["runs"]] for arm in document["arms"]] == [[1, 2], [1, 2]]


def test_an_arm_can_be_any_override(place, capsys):
    command, runs = place
    words = [
        "--arm",
        "three: strategy.k=3",
        "--arm",
        "two elites: strategy.k=2 strategy.pool=elites",
    ]
    command("--arms", "greedy", *words, "--json")
    document = json.loads(capsys.readouterr().out)
    assert names(runs) == ["land-greedy", "land-three", "land-two-elites"]
    assert len(document["arms"]) == 3
    state = fold(read_journal(runs / "land-two-elites/journal.jsonl").entries)
    assert (state.k, state.start.pool) == (2, "elites")


def test_the_same_command_goes_on_after_a_signal(place, capsys):
    command, runs = place
    merger = Interrupted(9)
    command.workplace.parts = {"merger": merger}
    with pytest.raises(SignalledError) as stopped:
        command("--arms", "greedy,kinship", "--set", "stopping=[{max_generations: 2}]")
    assert stopped.value.exit_code == 130
    assert stopped.value.remedy.startswith("resume with: evomerge run ")
    assert "--arms greedy,kinship --set" in stopped.value.remedy
    assert names(runs) == ["land-greedy", "land-kinship"][: len(names(runs))]

    command.workplace.parts = {}
    command("--arms", "greedy,kinship", "--set", "stopping=[{max_generations: 2}]")
    assert names(runs) == ["land-greedy", "land-kinship"]
    for run in runs.glob("land-*"):
        events = [e.event for e in read_journal(run / "journal.jsonl").entries]
        assert events[-1].type == "run_finished"
        scored = [e.model for e in events if e.type == "model_scored"]
        assert len(scored) == len(set(scored))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arms", "greedy,gready"], "'gready' is no strategy"),
        (["--arms", "greedy"], "two arms or more"),
        (["--arms", "greedy,greedy"], "comes twice"),
        (["--arms", ""], "two arms or more"),
        (["--arms", "greedy", "--arm", "two elites"], "expected 'NAME: KEY=VALUE"),
        (["--arm", "a: strategy.k=2", "--arm", "a: strategy.k=3"], "'a' comes twice"),
        (["--repeats", "2"], "--repeats is for the arms"),
    ],
)
def test_mistakes_are_told_before_anything_runs(place, words, said):
    command, runs = place
    with pytest.raises(UsageError, match=said):
        command(*words)
    assert names(runs) == []


def test_an_arm_with_another_config_is_told_before_anything_runs(place):
    command, runs = place
    command("--arms", "kinship,greedy")
    with pytest.raises(UsageError, match=r"run land-kinship .*\n.*strategy.k: 3 -> 2"):
        command("--arms", "random,kinship", "--set", "strategy.k=2")
    assert names(runs) == ["land-greedy", "land-kinship"]
