"""The malformed corpus: each broken file is told with its line, its key and what was expected."""

import json
import sys

import pytest

from evomerge.cli import main
from evomerge.configfile import load, parse
from evomerge.domain.errors import ConfigError

# (what stands in the good file, what replaces it, line, key, part of the message)
EDITS = [
    # keys
    ("  k: 3", "  kk: 3", 9, "strategy.kk", "did you mean `k`"),
    ("strategy:", "stratgy:", 7, "stratgy", "did you mean `strategy`"),
    ("      weight: 2", "      wieght: 2", 22, "evaluation.tasks.1.wieght", "`weight`"),
    ("{patience: 2}", "{patence: 2}", 26, "stopping.1.no_improvement.patence", "`patience`"),
    ("      default:", "      defualt:", 16, "merge.parameters.weight.defualt", "`default`"),
    ("{metric:", "{metrik:", 17, "kinship.metrik", "did you mean `metric`"),
    ("  k: 3", "  pool_size: 3", 9, "strategy.pool_size", "did you mean `k`"),
    ("{metric:", "{limit: 3, metric:", 17, "kinship.limit", "`evaluation.tasks.N.limit`"),
    (
        "  model_args",
        "  limit: 3\n  model_args",
        23,
        "evaluation.limit",
        "at `evaluation.tasks.N.limit` or `evaluation.final_tasks.N.limit`",
    ),
    ("  model_args", "  device: x\n  model_args", 23, "evaluation.device", "`execution.devices`"),
    ("  devices: [cpu, cpu]", "  gpus: 2", 28, "execution.gpus", "did you mean `devices`"),
    (
        "  method: ties",
        "  weights: [1]\n  method: ties",
        11,
        "merge.weights",
        "did you mean `merge.parameters.weight`",
    ),
    (
        "no_improvement: {patience: 2}",
        "patience: 2",
        26,
        "stopping.1",
        "write `- no_improvement: {patience: ...}`",
    ),
    ("run:", "k: 3\nrun:", 1, "k", "it belongs at `strategy.k`"),
    ("run:", "max_generations: 3\nrun:", 1, "max_generations", "`stopping.N.max_generations`"),
    ("run:", "batchsize: 3\nrun:", 1, "batchsize", "`evaluation.batch_size`"),
    ("run:", "models: []\nrun:", 1, "models", "`foundation_models`"),
    ("run:", "zzz: 1\nrun:", 1, "zzz", "the keys here are run, base_model"),
    ("    density:", "    t:", 13, "merge.parameters.t", "belongs to the method slerp"),
    ("  k: 3", "  k: 3\n  k: 4", 10, "strategy.k", "line 9 already has it"),
    ("  k: 3", "  1: 3", 9, "strategy.1", "a key must be a text"),
    ("  k: 3", "  [a]: 3", 9, "strategy", "not a list or a mapping"),
    # missing
    ("run: {name: trial}", "run: {}", 1, "run.name", "is missing: name of the run"),
    ("base_model: org/base\n", "", 1, "base_model", "is missing: the pre-trained model"),
    ("  method: ties\n", "", 10, "merge.method", "one of slerp, linear"),
    ("      default: 0.5\n", "", 14, "merge.parameters.weight.default", "is missing"),
    ("{patience: 2}", "{}", 26, "stopping.1.no_improvement.patience", "is missing"),
    # types
    ("k: 3", "k: three", 9, "strategy.k", "expected an integer, got the text 'three'"),
    ("k: 3", "k: '3'", 9, "strategy.k", "expected an integer, got the text '3'"),
    ("k: 3", "k: 3.0", 9, "strategy.k", "expected an integer, got the number 3.0"),
    ("k: 3", "k: true", 9, "strategy.k", "expected an integer, got true"),
    ("k: 3", "k:", 9, "strategy.k", "expected an integer, got nothing"),
    ("k: 3", "k: 0o17", 9, "strategy.k", "got the text '0o17'"),
    ("k: 3", "k: 1:30", 9, "strategy.k", "got the text '1:30'"),
    ("k: 3", "k: 017", 9, "strategy.k", "got the text '017'"),
    ("k: 3", "k: 1_0", 9, "strategy.k", "got the text '1_0'"),
    ("{name: trial}", "{name: 123}", 1, "run.name", "put it in quotes"),
    ("density: 0.5", "normalize: yes", 13, "merge.parameters.normalize", "true or false"),
    ("density: 0.5", "density: dense", 13, "merge.parameters.density", "a list of numbers"),
    ("[0.2, 1]", "[0.2, one]", 15, "merge.parameters.weight.filters.mlp.1", "expected a number"),
    ("[0.2, 1]", "[]", 15, "merge.parameters.weight.filters.mlp", "at least 1 item"),
    ("kinship: {metric: cosine, exclude: [lm_head.*]}", "kinship: 3", 17, "kinship", "a mapping"),
    ("[lm_head.*]", "lm_head", 17, "kinship.exclude", "expected a list"),
    ("low: 1", "low: [1]", 23, "evaluation.model_args.low", "expected a text, a number"),
    (
        "low: 1}",
        "low: 1}\n  guard: {worse_than: 0.9}",
        24,
        "evaluation.guard.worse_than",
        "least 1",
    ),
    ("low: 1}", "low: 1}\n  guard: {wrose_than: 2}", 24, "evaluation.guard.wrose_than", "did you"),
    ("low: 1}", "low: 1}\n  guard: two words", 24, "evaluation.guard.text", "the path of a text"),
    ("low: 1}", "low: 1}\n  guard: 3", 24, "evaluation.guard", "expected"),
    # taken out
    ("low: 1}", "low: 1}\n  racing: 0.05", 24, "evaluation.racing", "taken out in 0.1.0: it saved"),
    ("low: 1}", "low: 1}\n  racing: {error: 0.1}", 24, "evaluation.racing", "all items"),
    # values
    ("method: ties", "method: tise", 11, "merge.method", "did you mean `ties`"),
    ("name: kinship", "name: kinshp", 8, "strategy.name", "did you mean `kinship`"),
    ("cosine", "cosin", 17, "kinship.metric", "did you mean `cosine`"),
    ("k: 3", "k: 1", 9, "strategy.k", "of at least 2"),
    ("k: 3", "k: .nan", 9, "strategy.k", "expected a finite number"),
    ("k: 3", "k: 1e999", 9, "strategy.k", "expected a finite number"),
    ("k: 3", "k: " + "9" * 5000, 9, "strategy.k", "a number of 5000 characters"),
    ("density: 0.5", "density: 0", 13, "merge.parameters.density", "above 0 and up to 1"),
    ("density: 0.5", "density: [0.5, 1.5]", 13, "merge.parameters.density.1", "got 1.5"),
    ("weight: 2", "weight: 0", 22, "evaluation.tasks.1.weight", "above 0"),
    ("weight: 2", "limit: 0.1", 22, "evaluation.tasks.1.limit", "expected an integer"),
    ("weight: 2", "metric: acc,none", 22, "evaluation.tasks.1.metric", "`filter: none`"),
    ("weight: 2", "metric: ter", 22, "evaluation.tasks.1.metric", "use a metric whose higher"),
    ("name: second", "name: first", 21, "evaluation.tasks.1.name", "evaluation.tasks.0 has it"),
    ("[cpu, cpu]", "[gpu]", 28, "execution.devices.0", "expected auto, cpu, cuda"),
    ("[cpu, cpu]", "[cpu*0]", 28, "execution.devices.0", "cpu*2 for two workers"),
    ("[cpu, cpu]", "[auto*2]", 28, "execution.devices.0", "cpu*2 for two workers"),
    ("[cpu, cpu]", "[cpu, auto]", 28, "execution.devices.1", "must be the only entry"),
    ("low: 1", "hf_token: canary", 23, "evaluation.model_args.hf_token", "do not write secrets"),
    ("low: 1", "device: cpu", 23, "evaluation.model_args.device", "execution.devices"),
    ("- pool_unchanged", "- pool_unchange", 25, "stopping.0", "did you mean `pool_unchanged`"),
    ("- pool_unchanged", "- no_improvement", 25, "stopping.0", "{patience: ...}"),
    ("- pool_unchanged", "- max_hours", 25, "stopping.0", "`- max_hours: ...`"),
    ("- pool_unchanged", "- {max_hours: 1, max_generations: 2}", 25, "stopping.0", "one criterion"),
    ("  method: ties", "  method: ties\n  tokenizer: unoin", 12, "merge.tokenizer", "auto, union"),
    ("  method: ties", "  method: ties\n  chat_template: chat", 12, "merge.chat_template", "Jinja"),
    # models and names
    ("org/one", "org/two@main", 5, "foundation_models.1.model", "same model"),
    (
        "- org/one",
        "- {model: org/one, name: two}",
        5,
        "foundation_models.1.name",
        "also named 'Two'",
    ),
    ("org/one", "org/model-1-exp", 4, "foundation_models.0.model", "is reserved for a child"),
    ("name: Two", "name: union", 5, "foundation_models.1.name", "merge.tokenizer"),
    ("org/one", "org/one@", 4, "foundation_models.0.model", "neither a hub id"),
    ("org/one", "org/o n e", 4, "foundation_models.0.model", "neither a hub id"),
    ("org/one", "https://u:p@host/x", 4, "foundation_models.0.model", "got a URL"),
    ("org/one", "./my model", 4, "foundation_models.0.model", "set `name`"),
    ("org/one", "~other/model", 4, "foundation_models.0.model", "only `~/` is expanded"),
    ("name: trial", "name: ../escape", 1, "run.name", "a name of up to 64"),
    ("name: trial", "name: /etc", 1, "run.name", "a name of up to 64"),
    ("name: trial", "name: NUL", 1, "run.name", "not a valid file name"),
    ("name: trial", "name: con.txt", 1, "run.name", "not a valid file name"),
    ("name: trial", "name: dot.", 1, "run.name", "not a valid file name"),
    ("name: trial", "name: store", 1, "run.name", "folder shared by all runs"),
    ("name: trial", "name: " + "x" * 65, 1, "run.name", "up to 64"),
    ("name: trial", "name: x, dir: " + "d" * 300, 1, "run.dir", "255 bytes"),
    # YAML itself
    ("  k: 3", "\tk: 3", 9, "", "a tab"),
    ("  k: 3", "  k: @x", 9, "", "put the text in quotes"),
    ("  k: 3", "  k: a: b", 9, "", "where no key can stand"),
    ("  k: 3", "   k: 3", 9, "", "where no key can stand"),
    ("  k: 3", " k: 3", 9, "", "indentation"),
    ("  k: 3", "  k: [1", 10, "", "bracket opened on line 9"),
    ("  k: 3", "  k: 'x", 29, "", "the quote opened on line 9"),
    ("  k: 3", "  k: *x", 9, "", "without its anchor"),
    ("  k: 3", "  k: &a [*a]", 9, "", "holds itself"),
    ("  k: 3", "  k: !!int 3", 9, "", "the tag `!!int`"),
    ("  k: 3", "  k: !!python/name:os.system", 9, "", "plain values, no tags"),
    ("  k: 3", "  k: \x07", 9, "", "U+0007"),
    ("  k: 3", '  k: "\\0"', 9, "", "U+0000"),
    ("  k: 3", '  k: "\\ud800"', 9, "", "U+D800"),
    ("  k: 3", '  k: "\\UFFFFFFFF"', 9, "", "out of range"),
    ("  k: 3", "  k: 3\n---\na: 1", 10, "", "a second document"),
    ("  k: 3", "  k: " + "[" * 40 + "]" * 40, 9, "", "nested more than 32"),
    ("  k: 3", "  <<: 3", 9, "strategy", "takes an alias of a mapping"),
]


def test_the_corpus_is_large_enough():
    assert len({(old, new) for old, new, *_ in EDITS}) == len(EDITS) >= 60


@pytest.mark.parametrize(("old", "new", "line", "key", "part"), EDITS)
def test_one_fault_is_told_with_its_place(good, old, new, line, key, part):
    assert old in good
    with pytest.raises(ConfigError) as caught:
        parse(good.replace(old, new, 1), "x.yaml")
    told = [(p.where.split(":")[1], p.key, str(p)) for p in caught.value.problems]
    assert any((where, path) == (str(line), key) and part in text for where, path, text in told), (
        told
    )
    assert len(told) == 1, told


@pytest.mark.parametrize("words", [["validate"], ["run"], ["validate", "--json"]])
def test_every_command_refuses_them_with_exit_2_and_without_a_traceback(
    good, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for old, new, line, _, part in EDITS:
        (tmp_path / "x.yaml").write_text(good.replace(old, new, 1), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["evomerge", words[0], "x.yaml", *words[1:]])
        with pytest.raises(SystemExit) as exited:
            main()
        told = capsys.readouterr()
        assert exited.value.code == 2, new
        assert "Traceback" not in told.err
        if "--json" in words:
            problems = json.loads(told.out)["problems"]
            assert problems[0]["where"].startswith(f"x.yaml:{line}")
        else:
            assert told.err.startswith(f"evomerge: x.yaml:{line}:")
            assert part in told.err
        assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_all_faults_are_told_at_once_in_the_order_of_the_file(good):
    broken = good.replace("k: 3", "k: x\n  k: 4").replace("cosine", "x").replace("trial", "..")
    with pytest.raises(ConfigError) as caught:
        parse(broken, "x.yaml")
    assert [p.key for p in caught.value.problems] == [
        "run.name", "strategy.k", "strategy.k", "kinship.metric",
    ]  # fmt: skip


def test_what_stands_below_a_misspelt_method_is_told_as_well(good):
    with pytest.raises(ConfigError) as caught:
        parse(good.replace("ties", "tise").replace("density: 0.5", "density: 7"), "x.yaml")
    assert [p.key for p in caught.value.problems] == ["merge.method", "merge.parameters.density"]


def test_a_misspelt_key_is_not_told_as_missing_too(good):
    with pytest.raises(ConfigError) as caught:
        parse(good.replace("  tasks:", "  taks:"), "x.yaml")
    assert [str(p) for p in caught.value.problems] == [
        "x.yaml:19: evaluation.taks: unknown key (did you mean `tasks`?)"
    ]


def test_an_alias_bomb_is_cut_short(good):
    levels = [f"z{i}: &z{i} [{', '.join([f'*z{i - 1}'] * 9)}]" for i in range(1, 20)]
    with pytest.raises(ConfigError, match="an alias counts each time"):
        parse("\n".join(["z0: &z0 [lol]", *levels]), "x.yaml")


def test_a_fault_behind_an_alias_is_told_once(good):
    text = good.replace("  - first", "  - &t {name: first, limit: .nan}\n    - *t")
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yaml")
    assert len({str(p) for p in caught.value.problems}) == len(caught.value.problems)


def test_distance_and_saturation_do_not_go_together(good):
    text = good.replace("cosine", "euclidean").replace("- pool_unchanged", "- kinship_saturation")
    with pytest.raises(ConfigError, match="a distance does not saturate") as caught:
        parse(text, "x.yaml")
    assert caught.value.problems[0].where == "x.yaml:25"


def test_distance_and_skipping_do_not_go_together(good):
    text = good.replace("cosine", "euclidean")
    text = text.replace("  method: ties", "  method: ties\n  skip_if_kinship_above: 0.99")
    with pytest.raises(ConfigError, match="parents are small; use the metric pcc") as caught:
        parse(text, "x.yaml")
    assert caught.value.problems[0].where == "x.yaml:12"
    assert caught.value.problems[0].key == "merge.skip_if_kinship_above"
    parse(text.replace("euclidean", "cosine"), "x.yaml")


@pytest.mark.parametrize(
    ("fragment", "part"),
    [
        ("{parameters: {t: 0.5}}", "`merge_method` is missing"),
        ("{merge_method: slerp, models: []}", "evomerge adds the parents"),
        ("{merge_method: slerp, dtype: float16}", "`merge.dtype`"),
        ("{merge_method: slerp, paramters: {}}", "merge_method, parameters"),
        ("{merge_method: slerp, parameters: 3}", "expected a mapping"),
    ],
)
def test_a_mergekit_fragment_holds_what_mergekit_reads(good, fragment, part):
    start, end = good.index("merge:"), good.index("kinship: {")
    merge = f"merge:\n  method: mergekit\n  fragment: {fragment}\n"
    with pytest.raises(ConfigError) as caught:
        parse(good[:start] + merge + good[end:], "x.yaml")
    assert part in str(caught.value)
    assert caught.value.problems[0].where == "x.yaml:12"


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ("della\n  parameters: {density: 0.9, epsilon: 0.2}", "density ± epsilon"),
        ("della\n  parameters: {epsilon: 0.5}", "from 0 to below 0.5"),
        ("linear\n  parameters: {weight: 0}", "nothing would be merged"),
        ("linear\n  parameters: {weight: [0, 1]}", "division by 0"),
        ("slerp\n  parameters: {t: 1.5}", "from 0 to 1"),
        ("slerp\n  parameters: {t: {filters: {mlp: -1}, default: 0}}", "from 0 to 1"),
        ("slerp\n  parameters: {t: {filters: {}, default: 0}}", "at least 1 item"),
    ],
)
def test_parameters_stay_in_their_ranges(good, parameters, part):
    start, end = good.index("merge:"), good.index("kinship: {")
    with pytest.raises(ConfigError) as caught:
        parse(f"{good[:start]}merge:\n  method: {parameters}\n{good[end:]}", "x.yaml")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "where", "part"),
    [
        (b"", ":1", "the file is empty"),
        (b"# only a comment\n", ":1", "the file is empty"),
        (b"- a\n- b\n", ":1", "expected a mapping (`key: value` lines), got a list"),
        (b"just a text\n", ":1", "got the text 'just a text'"),
        (b"run:\n  name: \xff\n", ":2:9", "not UTF-8"),
        ("run: x".encode("utf-16"), ":1:1", "not UTF-8"),
        (b"run: a\x00b\n", ":1:7", "U+0000"),
        (b"x" * (1 << 20) + b"x", "", "larger than 1 MiB"),
        (b"- a\n" * 30_000, ":20000:3", "more than 20000 values"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, where, part):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.where == f"{path}{where}"
    assert part in problem.message
    assert "\n" not in str(problem)


def test_paths_that_are_no_file(tmp_path):
    for path, part in [
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "a\0b", "null"),
    ]:
        with pytest.raises(ConfigError, match=part) as caught:
            load(path)
        assert caught.value.exit_code == 2
        assert str(caught.value).isprintable()


def test_a_secret_is_never_repeated(good):
    text = good.replace("low: 1", "api_key: canary")
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yaml", ["evaluation.model_args.token=canary"])
    assert "canary" not in str(caught.value)
    assert len(caught.value.problems) == 2
