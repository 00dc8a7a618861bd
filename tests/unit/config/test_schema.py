"""The JSON Schema for editors agrees with the parser."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from evomerge.configfile import dump, json_schema, load, parse
from evomerge.configfile.reference import reference

CONFIGS = Path(__file__).parents[3] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_schema_is_up_to_date():
    """Otherwise: `evomerge schema > configs/schema.json`."""
    committed = json.loads((CONFIGS / "schema.json").read_text(encoding="utf-8"))
    assert committed == json_schema()


def test_the_committed_reference_is_up_to_date():
    """Otherwise: `evomerge schema --markdown > configs/REFERENCE.md`."""
    committed = (CONFIGS / "REFERENCE.md").read_text(encoding="utf-8")
    assert committed == reference(json_schema())
    for key in (
        "foundation_models",
        "skip_if_kinship_above",
        "patience",
        "devices",
        "density",
        "held_out",
    ):
        assert f"| `{key}` |" in committed


def test_every_key_has_a_description():
    schema = json_schema()
    for section in [schema, *schema["$defs"].values()]:
        for key, field in section.get("properties", {}).items():
            assert field.get("description"), key


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configs_load_and_name_the_schema(path, validator):
    config = load(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
    assert config.run.name in {path.stem, "tiny-evolution"}
    validator.validate(yaml.safe_load(dump(config)))
    validator.validate(yaml.safe_load(path.read_text()))


def test_the_paper_s_experiment_to_the_letter():
    config = load(CONFIGS / "mistral7b.yaml")
    assert config.strategy.k == 3
    assert config.merge.method == "slerp"
    t = config.merge.parameters.t
    assert t.filters == {"self_attn": [0, 0.5, 0.3, 0.7, 1], "mlp": [1, 0.5, 0.7, 0.3, 0]}
    assert t.default == 0.5
    assert [(task.name, task.fewshot, task.limit) for task in config.evaluation.tasks] == [
        ("winogrande", 5, None), ("gsm8k", 5, None), ("truthfulqa_mc2", 0, None),
    ]  # fmt: skip
    greedy = load(CONFIGS / "mistral7b-greedy.yaml")
    assert greedy.strategy.name == "greedy"
    assert (greedy.merge, greedy.evaluation) == (config.merge, config.evaluation)


@pytest.mark.parametrize("criterion", ["pool_unchanged", {"no_improvement": {"patience": 2}}])
def test_both_spellings_of_a_criterion(good, criterion, validator):
    tree = yaml.safe_load(good) | {"stopping": [criterion]}
    tree["merge"]["parameters"]["weight"] = 0.5
    validator.validate(tree)
    parse(yaml.safe_dump(tree), "x")


@pytest.mark.parametrize(
    "change",
    [{"zzz": 1}, {"retention": "some"}, {"stopping": ["x"]}, {"foundation_models": ["a/b"]}],
)
def test_the_schema_refuses_what_the_parser_refuses(good, change, validator):
    tree = yaml.safe_load(good) | change
    assert not validator.is_valid(tree)
