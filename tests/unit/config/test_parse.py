"""What a good config means: values, defaults, overrides, and the way back to YAML."""

from pathlib import Path

import pytest

from evomerge.config import Config, Filtered
from evomerge.config.texts import spread
from evomerge.configfile import (
    anchored,
    config_id,
    dump,
    load,
    load_recorded,
    parse,
    removed_settings,
)
from evomerge.domain.errors import ConfigError
from evomerge.stopping import KinshipSaturation, MaxHours, PoolUnchanged


def test_values_and_defaults(good):
    config = parse(good, "x.yaml")
    assert [m.short_name for m in config.foundation_models] == ["one", "Two", "three"]
    two = config.foundation_models[1]
    assert (two.source, two.revision) == ("org/two", "main")
    assert config.run.seed == 0
    assert config.merge.method == "ties"
    weight = config.merge.parameters.weight
    assert weight == Filtered(filters={"mlp": [0.2, 1.0], "self_attn.q": 0.1}, default=0.5)
    assert [task.name for task in config.evaluation.tasks] == ["first", "second"]
    assert config.execution.devices == ("cpu", "cpu")
    assert config.stopping[0] == PoolUnchanged()


def test_several_workers_on_a_device(good):
    config = parse(good.replace("[cpu, cpu]", "[cpu*2, cuda:1, 'cuda:0×3']"), "x.yaml")
    assert spread(config.execution.devices) == ("cpu",) * 2 + ("cuda:1",) + ("cuda:0",) * 3


@pytest.mark.parametrize("off", ["none", "0", "{error: 0.0, batches: [0.125, 1.0]}", "{}"])
def test_a_setting_that_was_taken_out_is_passed_over_where_it_was_off(good, off):
    config = parse(good, "x", [f"evaluation.racing={off}"])
    assert config == parse(good, "x")
    assert config_id(config) == config_id(parse(good, "x"))


def test_a_run_s_own_copy_may_ask_for_what_was_taken_out_since(good, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(good.replace("low: 1}", "low: 1}\n  racing: {error: 0.05, batches: [1.0]}"))
    assert load_recorded(path) == parse(good, "x")
    assert [line.partition(": taken out in")[0] for line in removed_settings(path)] == [
        f"{path}:24: evaluation.racing"
    ]
    with pytest.raises(ConfigError, match=r":24: evaluation\.racing: taken out in 0\.1\.0"):
        load(path)


@pytest.mark.parametrize(("written", "share"), [("none", 0.0), ("0.25", 0.25), ("0", 0.0)])
def test_the_short_spelling_of_the_held_out_share(good, written, share):
    assert parse(good, "x", [f"evaluation.split={written}"]).evaluation.split.held_out == share


def test_plain_texts_that_other_readers_turn_into_something_else(good):
    args = "{a: no, b: on, c: 1e-3, d: 12:30:45, e: 2001-01-01, f: 0o17, g: 0x1F, h: '1', i: True}"
    text = good.replace("{attn_implementation: eager, low: 1}", args)
    assert parse(text, "x").evaluation.model_args == {
        "a": "no", "b": "on", "c": 0.001, "d": "12:30:45", "e": "2001-01-01", "f": "0o17",
        "g": "0x1F", "h": "1", "i": True,
    }  # fmt: skip


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(good):
    assert parse("\ufeff" + good.replace("\n", "\r\n"), "x") == parse(good, "x")


def test_anchors_and_merge_keys(good):
    text = good.replace(
        "    - first\n    - name: second\n      weight: 2\n",
        "    - &t {name: first, fewshot: 5, limit: 10}\n    - {<<: *t, name: second, limit: 20}\n",
    )
    second = parse(text, "x").evaluation.tasks[1]
    assert (second.name, second.fewshot, second.limit) == ("second", 5, 20)


@pytest.mark.parametrize(
    ("model", "source", "revision"),
    [
        ("gpt2", "gpt2", None),
        ("gpt2@main", "gpt2", "main"),
        ("org/name@refs/pr/3", "org/name", "refs/pr/3"),
        ("./a@b/c", "./a@b/c", None),
        ("/abs/path", "/abs/path", None),
        ("runs/tiny/models/x", "runs/tiny/models/x", None),
        ("~/models/x", "~/models/x", None),
    ],
)
def test_hub_ids_and_paths(good, model, source, revision):
    one = parse(good.replace("org/one", model), "x").foundation_models[0]
    assert (one.source, one.revision) == (source, revision)
    assert one.repo == (None if model[0] in "./~" or "/tiny/" in model else source)


def test_a_foundation_model_can_lend_its_tokenizer(good):
    text = good.replace("  method: ties", "  method: ties\n  tokenizer: Two")
    assert parse(text, "x").merge.tokenizer == "Two"


def test_overrides(good):
    config = parse(
        good,
        "x.yaml",
        [
            "strategy.k=4",
            "evaluation.tasks.0.limit=5",
            "foundation_models.0.name=First",
            "merge.parameters.weight=[0.1, 0.9]",
            'evaluation.model_args."a.b"=x=y',
            "stopping=[kinship_saturation]",
            "stopping.0.kinship_saturation.threshold=0.8",
            "strategy.exploration.prefer=highest",
            "retention=best",
        ],
    )
    assert config.strategy.k == 4
    assert config.evaluation.tasks[0].limit == 5
    assert config.foundation_models[0].model == "org/one"
    assert config.foundation_models[0].name == "First"
    assert config.merge.parameters.weight == [0.1, 0.9]
    assert config.evaluation.model_args["a.b"] == "x=y"
    assert isinstance(config.stopping[0], KinshipSaturation)
    assert config.stopping[0].threshold == 0.8
    assert config.strategy.exploration.prefer == "highest"


def test_an_override_can_bring_a_whole_section(good):
    start, end = good.index("stopping:"), good.index("execution:")
    config = parse(good[:start] + good[end:], "x", ["stopping=[max_hours: 0.5]"])
    assert config.stopping == (MaxHours(max_hours=0.5),)


@pytest.mark.parametrize(
    ("override", "key", "part"),
    [
        ("strategy.kk=4", "strategy.kk", "did you mean `k`"),
        ("stratgy.k=4", "stratgy", "did you mean `strategy`"),
        ("strategy.k=x", "strategy.k", "expected an integer"),
        ("strategy.k", "", "expected KEY=VALUE"),
        ("=3", "", "expected KEY=VALUE"),
        ("a..b=3", "", "expected KEY=VALUE"),
        (".".join("a" * 2000) + "=3", "", "expected KEY=VALUE"),
        ("evaluation.tasks.7.limit=5", "evaluation.tasks.7.limit", "has 2 items"),
        ("evaluation.tasks.x.limit=5", "evaluation.tasks.x.limit", "expected a number"),
        ("run.name.x=5", "run.name.x", "`run.name` is a single value"),
        ("merge.parameters.weight.default=[1,", "merge.parameters.weight.default", "bracket"),
        ("run.seed=.inf", "run.seed", "finite"),
        ("run.seed=!!int 3", "run.seed", "no tags"),
        ("run.name=", "run.name", "got nothing"),
        ("\ud800.\x1b=3", "", "expected KEY=VALUE"),
    ],
)
def test_a_wrong_override_is_told_as_such(good, override, key, part):
    with pytest.raises(ConfigError) as caught:
        parse(good, "x.yaml", [override])
    (problem,) = caught.value.problems
    assert problem.where.startswith("--set ")
    assert len(problem.where) < 100
    assert part in str(problem)
    assert str(problem).isprintable()
    assert problem.key == key


def test_an_override_of_a_list_that_the_file_lacks(good):
    with pytest.raises(ConfigError, match="set the whole list"):
        parse(good.replace("stopping:", "# stopping:").replace("  - pool", "# ").replace(
            "  - no_impr", "# "), "x", ["stopping.0.max_hours=3"])  # fmt: skip


def test_what_is_dumped_parses_to_an_equal_config(good):
    text = good.replace("low: 1", "x: 'no', y: '1e-3', z: '0o17', w: '12:30', v: 'é\\n\"', u: '~'")
    config = parse(text, "x.yaml", ["run.name='123'"])
    again = parse(dump(config), "y.yaml")
    assert again == config
    assert dump(again) == dump(config)


def test_the_order_of_filters_survives_the_way_to_yaml_and_back(good):
    config = parse(good.replace("mlp: [0.2, 1], self_attn.q: 1e-1", "b: 1, a: 0.5, b.c: 0.2"), "x")
    again = parse(dump(config), "y")
    assert list(again.merge.parameters.weight.filters) == ["b", "a", "b.c"]


def test_anchored_makes_the_path_of_the_anchors_text_absolute(good, tmp_path):
    """A run is resumed from any folder."""
    merge = "{method: regmean_pp, parameters: {anchor: ANCHOR}}"
    words = ["evaluation.split={held_out: 0.5, calibration: 8}"]
    for anchor, expected in (
        ("plain.txt", str(tmp_path / "plain.txt")),
        ("/plain.txt", "/plain.txt"),
        ("default", "default"),
        ("none", "none"),
    ):
        override = f"merge={merge.replace('ANCHOR', anchor)}"
        config = anchored(parse(good, "x", [*words, override]), tmp_path)
        assert config.merge.parameters.anchor == expected


def test_anchored_makes_local_paths_absolute(good, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    (tmp_path / "org" / "one").mkdir(parents=True)
    text = good.replace("  tasks:", "  include: [tasks, ~/tasks]\n  tasks:")
    config = anchored(parse(text, "x", ["base_model=../base"]), tmp_path)
    assert config.run.dir == tmp_path / "runs"
    assert config.base_model.model == str(tmp_path / "../base")
    one, two, three = config.foundation_models
    assert one.model == str(tmp_path / "org/one")
    assert (two.model, two.short_name) == ("org/two@main", "Two")
    assert (three.model, three.short_name) == (str(tmp_path / "models/three"), "three")
    assert config.evaluation.include == (tmp_path / "tasks", Path("/home/someone/tasks"))
    assert anchored(config, Path("/elsewhere")) == config
    assert parse(dump(config), "y") == config
    assert isinstance(config, Config)
