from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from evomerge.adapters.mergekit import (
    _basis,
    engine,
    mergekit_config,
    mergekit_yaml,
    recipe_yaml,
    worker,
)
from evomerge.config import MergeOptions
from evomerge.domain.errors import PreflightError
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.execution.operations import check
from evomerge.execution.pool import no_progress
from evomerge.store.cache import Cache

GRADIENT = [{"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]}, {"value": 0.5}]


def recipe(method: str, parents: dict[str, dict[str, Any]], base: str, **fields: Any) -> Recipe:
    ingredients = tuple(Ingredient(model=name, parameters=own) for name, own in parents.items())
    return Recipe(method=method, parents=ingredients, base=base, engine="mergekit 0", **fields)


def test_slerp_lists_both_parents_and_its_base_is_the_first() -> None:
    config = mergekit_config(
        recipe("slerp", {"a": {}, "b": {}}, "a", parameters={"t": GRADIENT}, dtype="bfloat16")
    )
    assert config == {
        "merge_method": "slerp",
        "models": [{"model": "a"}, {"model": "b"}],
        "base_model": "a",
        "parameters": {"t": GRADIENT},
        "dtype": "bfloat16",
    }


def test_linear_has_weights_for_each_parent_and_a_base_among_them() -> None:
    config = mergekit_config(recipe("linear", {"a": {"weight": 0.3}, "b": {"weight": 0.7}}, "a"))
    assert config == {
        "merge_method": "linear",
        "models": [
            {"model": "a", "parameters": {"weight": 0.3}},
            {"model": "b", "parameters": {"weight": 0.7}},
        ],
        "base_model": "a",
    }


@pytest.mark.parametrize(
    ("method", "own", "shared"),
    [
        ("ties", {"weight": 0.5, "density": [0.2, 0.8]}, {"normalize": True, "lambda": 1.0}),
        ("dare_ties", {"weight": 0.5, "density": 0.5}, {"rescale": True}),
        ("dare_linear", {"weight": 0.5, "density": 0.5}, {"rescale": False}),
        ("della", {"weight": GRADIENT, "density": 0.5, "epsilon": 0.1}, {"lambda": 0.7}),
        ("task_arithmetic", {"weight": 0.6}, {}),
    ],
)
def test_methods_over_task_vectors_have_a_base_that_is_not_listed(
    method: str, own: dict[str, Any], shared: dict[str, Any]
) -> None:
    config = mergekit_config(
        recipe(method, {"a": own, "b": own}, "base", parameters=shared, tokenizer="union", seed=7)
    )
    assert config["merge_method"] == method
    assert config["models"] == [{"model": name, "parameters": own} for name in "ab"]
    assert config["base_model"] == "base"
    assert config.get("parameters", {}) == shared
    assert config["tokenizer_source"] == "union"


def test_a_raw_fragment_brings_its_own_method_and_keys() -> None:
    config = mergekit_config(
        recipe(
            "mergekit",
            {"a": {"weight": 1}, "b": {}},
            "base",
            fragment={"merge_method": "sce", "parameters": {"x": 1}, "out_dtype": "float16"},
            chat_template="chatml",
        )
    )
    assert config == {
        "merge_method": "sce",
        "models": [{"model": "a", "parameters": {"weight": 1}}, {"model": "b"}],
        "base_model": "base",
        "chat_template": "chatml",
        "parameters": {"x": 1},
        "out_dtype": "float16",
    }


@pytest.mark.parametrize("key", ["models", "slices", "modules", "base_model", "dtype"])
def test_a_fragment_cannot_replace_what_the_recipe_gives(key: str) -> None:
    with pytest.raises(PreflightError, match=key):
        mergekit_config(recipe("slerp", {"a": {}}, "a", dtype="float32", fragment={key: []}))


def test_the_yaml_reads_back_as_the_config() -> None:
    made = recipe("slerp", {"a": {}, "b": {}}, "a", parameters={"t": GRADIENT, "e": 1e-7})
    assert yaml.safe_load(mergekit_yaml(made)) == mergekit_config(made)
    assert mergekit_yaml(made).startswith("merge_method: slerp\nmodels:\n")


def test_the_recipe_file_gives_the_recipe_and_its_id_back() -> None:
    made = recipe(
        "mergekit", {"a": {"weight": 0.1}}, "b", seed=3, fragment={"chat": "{{ ü }}\n"}, dtype=None
    )
    content = yaml.safe_load(recipe_yaml(made))
    assert content.pop("id") == made.id
    assert Recipe.model_validate(content) == made


def test_a_tokenizer_of_a_further_model_is_needed_too() -> None:
    assert recipe("slerp", {"a": {}, "b": {}}, "a").inputs == ("a", "b")
    assert recipe("ties", {"a": {}}, "c", tokenizer="union").inputs == ("a", "c")
    assert recipe("ties", {"a": {}}, "c", tokenizer="t").inputs == ("a", "c", "t")


def test_the_engine_names_the_installed_version() -> None:
    assert engine() == f"mergekit {version('mergekit')}"


def test_a_recipe_that_passed_the_check_is_not_checked_again(tmp_path: Path) -> None:
    made, cache = recipe("slerp", {"a": {}, "b": {}}, "a"), Cache(tmp_path / "cache")
    asked = check(made, MergeOptions())
    known = _basis(asked, "cpu")
    assert known["check"]["recipe"]["method"] == "slerp"
    cache.put(known, {})
    pool = worker(tmp_path / "log", cache)
    assert pool.run(asked, no_progress) == {}
    assert not (tmp_path / "log").exists(), "no child was started"
    other = check(made, MergeOptions(threads=3))
    assert cache.get(_basis(other, "cpu")) is None


def test_the_parent_imports_no_model_library() -> None:
    code = (
        "import sys, evomerge.wiring; heavy = {'torch', 'mergekit', 'transformers', 'lm_eval', "
        "'datasets', 'peft', 'huggingface_hub'}; print(heavy & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
