"""Every strategy has its own options; ids and run folders of earlier versions stay."""

from pathlib import Path

import pytest

from evomerge.configfile import (
    config_id,
    dump,
    identity_of,
    load,
    load_recorded,
    parse,
    removed_settings,
)
from evomerge.domain.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs"

# As commit d96b2ff gave them, but for llama-3.1-8b and qwen2.5-7b, whose settings were changed.
IDS = {
    "llama-3.1-8b": "3a52f919cadd1cf1eb84f82f85fd7717",
    "mistral7b-2gpu": "2c2de4c46675945c7d888a4ce5f95bad",
    "mistral7b-dare": "f06dfa5983afc33c1b3f89cf434f9675",
    "mistral7b-greedy": "1ddd497b78470d303ad22b7cb638eace",
    "mistral7b-slurm": "2c2de4c46675945c7d888a4ce5f95bad",
    "mistral7b-ties": "cadf94f7557a34f3fdc9f128b25c8776",
    "mistral7b": "2c2de4c46675945c7d888a4ce5f95bad",
    "qwen2.5-7b": "de93dfdcce019766d123fd2089fafee6",
    "tiny": "7c03650de7f08b483e5ddf05d6d685cf",
}
IDS_OF_LLAMA = {
    "{name: greedy}": "82084cc8bc814a0f4eaec947cef16b34",
    "{name: random}": "57a8a8ee30b99afcaa6bfd5bd71aa6dc",
    "{name: steady_state}": "b6014aeb2d36e6181d2ca15d8315c99b",
    "{name: seed_grid}": "9ad6ee72315e4f9bc8cad835d0d4b751",
    "{name: coefficient_search}": "d28443c89391d7b6fef7da8932ba56e0",
    "{name: coefficient_search, search: {algorithm: random}}": "af1dc8ae411583fde7b4c6ffdc7f33b7",
    "{name: random, exploration: {candidates: pool}}": "c179b7d04afb3514ee167213d368059b",
}
FORMER = """\
  exploration: {candidates: null, prefer: lowest, additive: []}
  grid: {scales: [0.3, 0.5, 0.8], densities: [0.2, 0.5], weights: [0.6, 0.8, 1.0]}
  search: {algorithm: bayes, children: 1, step: 0.2}
"""


@pytest.mark.parametrize(("name", "known"), IDS.items())
def test_the_configs_of_the_repository_keep_their_ids(name, known):
    assert config_id(load(CONFIGS / f"{name}.yaml")) == f"config1-{known}"


@pytest.mark.parametrize(("strategy", "known"), IDS_OF_LLAMA.items())
def test_every_strategy_keeps_its_id(strategy, known):
    config = load(CONFIGS / "llama-3.1-8b.yaml", [f"strategy={strategy}"])
    assert config_id(config) == f"config1-{known}"
    again = parse(dump(config), "again")
    assert again == config
    assert config_id(again) == f"config1-{known}"


@pytest.mark.parametrize(
    ("strategy", "key", "part"),
    [
        ("name: greedy\n  exploration: {prefer: highest}", "exploration", "keys here are name, k,"),
        (
            "name: random\n  exploration: {prefer: highest}",
            "exploration.prefer",
            "strategy kinship",
        ),
        (
            "name: steady_state\n  exploration: {prefer: highest}",
            "exploration.prefer",
            "strategy kinship",
        ),
        ("name: kinship\n  search: {children: 2}", "search", "coefficient_search"),
        ("name: seed_grid\n  grid: {wieghts: [1]}", "grid.wieghts", "did you mean `weights`"),
        ("name: seed_grid\n  grid: {scales: [], weights: []}", "grid", "an empty grid"),
        ("name: coefficient_search\n  search: {children: 0}", "search.children", "of at least 1"),
        ("k: 3\n  grid: {scales: [1]}", "grid", "it belongs to the strategy"),
    ],
)
def test_an_option_of_another_strategy_is_refused_with_its_place(good, strategy, key, part):
    text = good.replace("name: kinship\n  k: 3", strategy)
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yaml")
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == ("x.yaml:9", f"strategy.{key}")
    assert part in str(problem)


@pytest.mark.parametrize("name", ["greedy", "kinship", "seed_grid", "coefficient_search"])
def test_the_config_of_an_older_run_opens_with_the_same_id(good, name, tmp_path):
    now = good.replace("name: kinship", f"name: {name}")
    path = tmp_path / "config.yaml"
    path.write_text(now.replace("  k: 3\n", f"  k: 3\n{FORMER}"))
    recorded = load_recorded(path)
    assert recorded == parse(now, "x")
    assert config_id(recorded) == config_id(parse(now, "x"))
    assert removed_settings(path) == ()


def test_what_an_older_run_had_without_effect_is_told(good, tmp_path):
    path = tmp_path / "config.yaml"
    former = FORMER.replace("lowest", "highest").replace("children: 1", "children: 3")
    path.write_text(good.replace("name: kinship\n  k: 3\n", f"name: greedy\n  k: 3\n{former}"))
    assert load_recorded(path).strategy.name == "greedy"
    assert removed_settings(path) == (
        f"{path}:10: strategy.exploration.prefer: greedy has no such option: it changed nothing",
        f"{path}:12: strategy.search.children: greedy has no such option: it changed nothing",
    )


def test_another_strategy_on_the_command_line_leaves_the_file_s_options_behind(good):
    text = good.replace("  k: 3\n", "  k: 4\n  exploration: {candidates: pool, prefer: highest}\n")
    greedy = parse(text, "x", ["strategy.name=greedy"])
    assert (greedy.strategy.name, greedy.strategy.k) == ("greedy", 4)
    drawn = parse(text, "x", ["strategy.name=random"])
    assert identity_of(drawn)["strategy.exploration.candidates"] == "pool"
    with pytest.raises(ConfigError, match=r"--set strategy.exploration.prefer=lowest: "):
        parse(text, "x", ["strategy.exploration.prefer=lowest", "strategy.name=random"])
    with pytest.raises(ConfigError, match="did you mean `candidates`"):
        parse(text.replace("candidates", "candidate"), "x", ["strategy.name=random"])
