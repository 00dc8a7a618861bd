"""Every field of the config is classified, and its class is what the evaluation id obeys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from evomerge.adapters.lm_eval.identity import evaluation_id, identity_fields
from evomerge.config import EvaluationConfig, TaskConfig

DESCRIPTION = {"versions": {"lm_eval": "0"}, "tasks": {"first": {"documents": "00"}}}
BASE: dict[str, Any] = {"tasks": [{"name": "first"}]}
OTHER_TASK: dict[str, Any] = {
    "name": "second",
    "metric": "exact_match",
    "filter": "strict-match",
    "weight": 2.0,
    "fewshot": 5,
    "limit": 10,
}
OTHER: dict[str, Any] = {
    "tasks": [{"name": "second"}],
    "include": ["tasks"],
    "backend": "vllm",
    "dtype": "bfloat16",
    "batch_size": 4,
    "max_length": 512,
    "chat_template": True,
    "system_instruction": "Be brief.",
    "model_args": {"revision": "main"},
    "seed": 1,
    "allow_unsafe": ["first"],
}


def _id(values: dict[str, Any], description: dict[str, Any] = DESCRIPTION) -> str:
    return evaluation_id(EvaluationConfig.model_validate(values), description)


def _role(cls: type[BaseModel], name: str) -> str:
    extra = cls.model_fields[name].json_schema_extra
    return str(extra["role"]) if isinstance(extra, dict) else "identity"  # `tasks` is descended


def test_other_values_cover_every_field() -> None:
    assert set(OTHER) == set(EvaluationConfig.model_fields)
    assert set(OTHER_TASK) == set(TaskConfig.model_fields)


@pytest.mark.parametrize("name", OTHER)
def test_identity_fields_change_the_id_and_runtime_fields_do_not(name: str) -> None:
    changed = _id({**BASE, name: OTHER[name]}) != _id(BASE)
    assert changed == (_role(EvaluationConfig, name) == "identity")


@pytest.mark.parametrize("name", OTHER_TASK)
def test_the_same_holds_for_tasks(name: str) -> None:
    changed = _id({"tasks": [{"name": "first", name: OTHER_TASK[name]}]}) != _id(BASE)
    assert changed == (_role(TaskConfig, name) == "identity")


def test_the_order_of_tasks_counts() -> None:
    # lm-eval batches the requests of all tasks as one list
    assert _id({"tasks": ["a", "b"]}) != _id({"tasks": ["b", "a"]})


def test_the_harness_counts() -> None:
    other = {"versions": {"lm_eval": "0"}, "tasks": {"first": {"documents": "01"}}}
    assert _id(BASE) != _id(BASE, other)


def test_an_unclassified_field_is_refused() -> None:
    class Careless(BaseModel):
        field: int = 1

    with pytest.raises(TypeError, match=r"Careless\.field is neither"):
        identity_fields(Careless())


def test_a_secret_counts_but_does_not_show() -> None:
    def fields(token: str) -> EvaluationConfig:
        # The config refuses what looks like a secret; whatever slips through must not show either.
        config = EvaluationConfig.model_validate(BASE)
        return config.model_copy(update={"model_args": {"header": token}})

    one, two = (fields("hf_" + letter * 30) for letter in "ab")
    assert evaluation_id(one, DESCRIPTION) != evaluation_id(two, DESCRIPTION)


def test_the_device_and_the_includes_do_not_count(tmp_path: Path) -> None:
    assert _id({**BASE, "include": [str(tmp_path)]}) == _id(BASE)
