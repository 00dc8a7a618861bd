"""The commands `validate`, `schema` and `init`."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from evomerge.cli import init, schema, validate
from evomerge.configfile import json_schema, load
from evomerge.configfile.citing import citing
from evomerge.domain.errors import ConfigError, PreflightError, UsageError
from evomerge.planning.advice import advice


def run(command, *arguments):
    return CliRunner().invoke(command, list(arguments))


@pytest.fixture
def path(good, tmp_path, monkeypatch):
    """A config whose folder and tasks are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "three").mkdir(parents=True)
    (tmp_path / "models" / "three" / "config.json").write_text("{}")
    path = tmp_path / "c.yaml"
    path.write_text(good.replace("- first", "- winogrande").replace("name: second", "name: copa"))
    return path


def test_a_valid_config_is_summed_up_in_one_line(path):
    result = run(validate.command, str(path))
    assert result.output == (
        f"{path} is valid: 3 foundation models over org/base; strategy kinship (k = 3); merge "
        "ties; scored on winogrande, copa; stops at pool_unchanged or no_improvement\n"
    )


def test_an_invalid_config_is_raised_for_the_handler(path):
    result = run(validate.command, str(path), "--set", "strategy.k=x")
    assert isinstance(result.exception, ConfigError)


def test_json_tells_the_problems(path):
    assert json.loads(run(validate.command, str(path), "--json").output)["valid"] is True
    result = run(validate.command, str(path), "--json", "--set", "strategy.kk=4")
    assert result.exit_code == 2
    assert json.loads(result.output) == {
        "valid": False,
        "problems": [
            {
                "where": "--set strategy.kk=4",
                "key": "strategy.kk",
                "message": "unknown key",
                "remedy": "did you mean `k`?",
            }
        ],
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("./models/three", "./models/thre", 6, "foundation_models.2: there is no folder ./models"),
        ("./models/three", "./models", 6, "is no model folder: it has no config.json"),
        ("- winogrande", "- winogrand", 20, "there is no task 'winogrand' (did you mean winogran"),
        ("weight: 2", "metric: acc_nrm", 22, "there is no metric 'acc_nrm'; did you mean 'acc'?"),
        ("weight: 2", "filter: strict", 22, "there is no filter 'strict' (filters: none)"),
        ("- winogrande", "- {name: gsm8k, metric: exact_match}", 20,
         "filter: task 'gsm8k' has several; choose one of strict-match, flexible-extract"),
        ("  model_args", "  include: [tasks]\n  model_args", 23, "there is no folder tasks"),
        ("  model_args", "  guard: ./text.txt\n  model_args", 23, "there is no file text.txt"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_its_line(path, old, new, line, told):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    result = run(validate.command, str(path))
    assert isinstance(result.exception, ConfigError)
    (problem,) = str(result.exception).splitlines()
    assert problem.startswith(f"{path}:{line}: ")
    assert told in problem


def test_a_fault_found_later_is_told_with_its_line(path):
    message = (
        "evaluation.tasks.1.metric: task 'copa': none\nevaluation.include[0]: no folder\nelse\n"
        f"three ({path.parent / 'models' / 'three'}): NaN\nthe licence (org/two@main)\n(org/no)"
    )
    with pytest.raises(PreflightError) as caught, citing(path, ["evaluation.include=[x]"]):
        raise PreflightError(message)
    assert caught.value.message.splitlines() == [
        f"{path}:21: evaluation.tasks.1.metric: task 'copa': none",
        "--set evaluation.include=[x]: evaluation.include[0]: no folder",
        "else",
        f"{path}:6: three ({path.parent / 'models' / 'three'}): NaN",
        f"{path}:5: the licence (org/two@main)",
        "(org/no)",
    ]


def test_schema_is_printed():
    assert json.loads(run(schema.command).output) == json_schema()


@pytest.mark.parametrize(
    ("aim", "strategy", "method"),
    [("best", "coefficient_search", "wudi"), ("paper", "kinship", "slerp")],
)
def test_init_writes_a_valid_config_with_a_word_on_every_setting(tmp_path, aim, strategy, method):
    path = tmp_path / "new.yaml"
    assert run(init.command, str(path), "--aim", aim).exit_code == 0
    written = load(path)
    assert (written.strategy.name, written.merge.method) == (strategy, method)
    assert not list(advice(written))
    for line in path.read_text().splitlines():
        setting = line.partition("#")[0].rstrip()
        top = not line.startswith(" ") and setting.endswith(":")
        assert not setting or "#" in line or top or setting.lstrip().startswith(
            ("- model", "- name", "name", "base_model", "parameters:", "metric", "fewshot", "limit")
        ), line  # fmt: skip


def test_init_does_not_overwrite(tmp_path):
    path = tmp_path / "new.yaml"
    path.write_text("mine")
    result = run(init.command, str(path))
    assert isinstance(result.exception, UsageError)
    assert path.read_text() == "mine"
    assert run(init.command, str(path), "--force").exit_code == 0
    assert path.read_text() == init.template("best")


def test_init_where_nothing_can_be_written(tmp_path):
    result = run(init.command, str(tmp_path / "none" / "c.yaml"))
    assert isinstance(result.exception, UsageError)


def test_validating_imports_no_model_library(path):
    code = (
        "import sys; from evomerge.cli.validate import command;"
        f"command([{str(path)!r}], standalone_mode=False);"
        "heavy = {'torch', 'transformers', 'mergekit', 'lm_eval'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
