"""The commands `validate`, `schema` and `init`."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from evomerge.cli import init, schema, validate
from evomerge.configfile import json_schema, load
from evomerge.domain.errors import ConfigError, UsageError
from evomerge.planning.advice import advice


def run(command, *arguments):
    return CliRunner().invoke(command, list(arguments))


@pytest.fixture
def path(good, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(good)
    return path


def test_a_valid_config_is_summed_up_in_one_line(path):
    result = run(validate.command, str(path))
    assert result.output == (
        f"{path} is valid: 3 foundation models over org/base; strategy kinship (k = 3); merge "
        "ties; scored on first, second; stops at pool_unchanged or no_improvement\n"
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
