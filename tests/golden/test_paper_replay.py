"""The strategies propose exactly the merges that the paper recorded, generation by generation."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from evomerge.cli.replay import command
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import replay, replay_config

PAPER = Path(__file__).parent / "paper"


def landscape(arm: str) -> Landscape:
    return Landscape.model_validate_json((PAPER / f"landscape-{arm}.json").read_text())


def recorded(arm: str) -> list[dict]:
    return json.loads((PAPER / "table2.json").read_text())["arms"][arm]


@pytest.mark.parametrize("arm", ["greedy", "kinship"])
def test_an_arm_proposes_the_recorded_merges(arm):
    world = landscape(arm)
    assert world.strategy == arm
    result = replay(world)

    rows = recorded(arm)
    by_generation = {}
    for row in rows:
        by_generation.setdefault(row["generation"], set()).add((row["model"], row["kind"]))
    assert [
        {(child.name, child.kind) for child in generation} for generation in result.generations
    ] == [by_generation[number] for number in sorted(by_generation)]
    for row in rows:
        if row["parents"]:
            assert set(result.state.models[row["model"]].parents) == set(row["parents"])
        assert result.state.models[row["model"]].score == row["avg"]
    assert result.stop.startswith("max_generations")


def test_the_greedy_arm_has_two_children_in_generation_three():
    world = landscape("greedy")
    result = replay(world, replay_config(world, stopping=[{"max_generations": 4}]))
    assert len(result.generations[2]) == 2, "model-1-3 × Open-chat is already model-2-1"


def test_the_printed_line_nine_would_choose_otherwise():
    world = landscape("kinship")
    highest = replay(
        world,
        replay_config(
            world,
            strategy={"name": "kinship", "k": 3, "exploration": {"prefer": "highest"}},
            stopping=[{"max_generations": 2}],
        ),
    )
    merges = highest.generations[1]
    assert {"model-1-3", "Instruct"} != set(merges[-1].parents)


def test_a_pair_that_is_not_recorded_stops_the_replay_and_is_named():
    world = landscape("kinship")
    result = replay(
        world,
        replay_config(
            world, strategy={"name": "kinship", "k": 4}, stopping=[{"max_generations": 9}]
        ),
    )
    assert result.stop.startswith("not_recorded: model-1-3 × MetaMath")
    missing = [child for child in result.generations[-1] if child.scores is None]
    assert [set(child.parents) for child in missing] == [{"model-1-3", "MetaMath"}]


def test_random_exploration_is_reproducible_from_its_seed():
    world = landscape("kinship")

    def proposals(seed):
        config = replay_config(
            world,
            run={"name": "random", "seed": seed},
            strategy={"name": "random", "k": 3},
            stopping=[{"max_generations": 2}],
        )
        result = replay(world, config)
        return [[merge.parents for merge in generation] for generation in result.generations]

    assert proposals(3) == proposals(3)
    assert len({str(proposals(seed)) for seed in range(12)}) > 1


def test_the_command_shows_what_is_recorded_and_what_is_not():
    words = [str(PAPER / "landscape-kinship.json"), "--k", "4"]
    shown = CliRunner().invoke(command, words, catch_exceptions=False).stdout.splitlines()
    assert (
        "  ?              not recorded  model-1-3 × MetaMath  (pair 3 of the pool by mean score)"
        in shown
    )
    assert any(line.startswith("  model-2-1       68.72  model-1-3 × Open-chat") for line in shown)
    assert shown[-1].startswith("stop   not_recorded: model-1-3 × MetaMath")
    told = json.loads(CliRunner().invoke(command, [*words, "--json"]).stdout)
    assert [merge["model"] for merge in told["generations"][-1]][1:3] == ["model-2-2", None]
