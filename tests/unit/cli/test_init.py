"""`evomerge init --from`: what the models' own files say becomes a valid config."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from evomerge.configfile import load
from tests.conftest import command

TASK = """\
task: mine
dataset_path: json
output_type: generate_until
doc_to_text: prompt
doc_to_target: answer
metric_list: [{metric: exact_match}]
"""


def model(folder: Path, tokens: int = 6, base: str | None = "./base", **config: object) -> Path:
    """A folder with the files of a model that are looked at."""
    folder.mkdir(parents=True)
    settings = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": tokens}
    (folder / "config.json").write_text(json.dumps({**settings, **config}))
    vocabulary = {f"token-{row}": row for row in range(tokens)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    weights = {"model.embed_tokens.weight": np.zeros((tokens, 4), np.float16)}
    save_file(weights, folder / "model.safetensors")
    if base is not None:
        (folder / "README.md").write_text(f"---\nbase_model: {base}\n---\n# A model\n")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a base, two fine-tunes of it, and a task."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model(tmp_path / "base", base=None)
    model(tmp_path / "a")
    model(tmp_path / "b")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.yaml").write_text(TASK)
    return tmp_path


def init(*words: object):
    done = command("init", "new.yaml", "--from", "./a", "./b", "--task", "tasks/mine.yaml", *words)
    assert done.code == 0, done.err
    assert command("validate", "new.yaml").code == 0
    return load(Path("new.yaml"))


def test_the_base_dtype_and_method_are_those_of_the_models(here):
    config = init()
    assert config.base_model.model == "./base"
    assert [each.model for each in config.foundation_models] == ["./a", "./b"]
    assert (config.merge.dtype, config.evaluation.dtype) == ("float16", "float16")
    assert (config.strategy.name, config.merge.method) == ("coefficient_search", "regmean_pp")
    assert config.evaluation.split.calibration == 64
    (task,) = config.evaluation.tasks
    assert (task.name, task.metric, task.limit) == ("mine", "exact_match", 300)
    assert config.evaluation.include == (Path("tasks"),)
    text = Path("new.yaml").read_text()
    assert "named by a, b" in text
    assert "24 parameters, float16, 6 tokens" in text


def test_other_vocabularies_get_a_union_and_a_rule_that_takes_them(here):
    shutil.rmtree(here / "b")
    model(here / "b", tokens=8)
    config = init()
    assert (config.merge.method, config.merge.tokenizer) == ("wudi", "auto")
    assert config.evaluation.split.calibration == 0
    vocabulary = {f"other-{row}": row for row in range(6)}
    shutil.rmtree(here / "b")
    model(here / "b")
    (here / "b" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    config = init("--force")
    assert (config.merge.method, config.merge.tokenizer) == ("wudi", "union")


def test_quick_is_small_and_says_what_it_would_be(here):
    config = init("--quick")
    assert config.run.name == "new-quick"
    assert config.evaluation.tasks[0].limit == 40
    assert config.evaluation.split.calibration == 10
    assert config.stopping[0].name == "max_evaluations"
    assert Path("new.yaml").read_text().startswith("# A first run of minutes (--quick): 40 items")


def test_the_papers_aim_and_a_base_given(here):
    config = init("--aim", "paper", "--base", "./base")
    assert (config.strategy.name, config.merge.method) == ("kinship", "slerp")
    assert "# as given" in Path("new.yaml").read_text()


def test_chat_templates_and_dtypes_are_told_where_they_differ(here):
    weights = {"model.embed_tokens.weight": np.zeros((6, 4), np.float32)}
    save_file(weights, here / "b" / "model.safetensors")
    (here / "b" / "chat_template.jinja").write_text("{{ messages }}")
    config = init()
    assert (config.merge.dtype, config.evaluation.chat_template) == ("bfloat16", False)
    assert "only b has" in Path("new.yaml").read_text()


def test_models_of_one_name_are_told_apart(here):
    model(here / "one" / "final")
    model(here / "two" / "final")
    done = command("init", "--from", "./one/final", "./two/final", "--task", "gsm8k")
    assert done.code == 0, done.err
    config = load(Path("evomerge.yaml"))
    assert [each.name for each in config.foundation_models] == ["one-final", "two-final"]
    assert config.evaluation.tasks[0].filter == "flexible-extract"


def mistakes():
    def other_base(here):
        model(here / "c", base="./other")

    def no_base(here):
        model(here / "c", base=None)
        model(here / "d", base=None)

    def another_architecture(here):
        model(here / "c", architectures=["Qwen2ForCausalLM"], model_type="qwen2")

    def nothing(here):
        pass

    yield other_base, "--from ./a ./c", "their cards name different base models: a ./base, c"
    yield no_base, "--from ./c ./d", "no model says which base it was fine-tuned from"
    yield another_architecture, "--from ./a ./c", "c (./c): its architecture is Qwen2ForCausalLM"
    yield nothing, "--from ./a ./missing", "missing (./missing): there is no such folder"
    yield nothing, "--from ./a", "evolution starts from two models or more"
    yield nothing, "--from ./a ./b --task gsm8kk", "lm-eval has no task 'gsm8kk'"
    yield nothing, "--from ./a ./b --task wikitext", "no metric whose higher values are better"
    yield nothing, "--from ./a ./b --task none.yaml", "none.yaml cannot be read"
    yield nothing, "--from ./a http://x/y", "got a URL"
    yield nothing, "--task gsm8k", "--task and --quick go with --from"


@pytest.mark.parametrize(("prepare", "words", "told"), mistakes())
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(here, prepare, words, told):
    prepare(here)
    done = command("init", *words.split())
    assert done.code in {2, 3}
    assert told in done.err
    assert len(done.err.splitlines()) <= 2
    assert not Path("evomerge.yaml").exists()


def test_a_strange_path_is_quoted(here):
    model(here / "my models" / "x")
    done = command("init", "--from", "./a", "./my models/x", "--base", "base", "--task", "gsm8k")
    assert done.code == 0, done.err
    assert load(Path("evomerge.yaml")).foundation_models[1].model == "./my models/x"
