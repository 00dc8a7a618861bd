"""Every field of the config is classified, and its class is what the evaluation id obeys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from evomerge.adapters.lm_eval.identity import evaluation_id, identity_fields
from evomerge.config import EvaluationConfig, MergeOptions, TaskConfig
from evomerge.config.evaluation import SplitConfig
from evomerge.domain.scores import Split
from evomerge.execution.operations import describe

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
    "split": {"held_out": 0.25, "seed": 5},
    "final_tasks": ["third"],
    "guard": {"text": "notes.txt", "worse_than": 1.3},
    "include": ["tasks"],
    "backend": "sglang",
    "dtype": "bfloat16",
    "batch_size": 4,
    "max_length": 512,
    "chat_template": True,
    "system_instruction": "Be brief.",
    "model_args": {"revision": "main"},
    "gen_kwargs": {"max_gen_toks": 7},
    "seed": 1,
    "objective": "worst",
    "skill_kept_at": 0.5,
    "allow_unsafe": ["first"],
}


def _id(
    values: dict[str, Any],
    description: dict[str, Any] = DESCRIPTION,
    split: Split = "selection",
) -> str:
    return evaluation_id(EvaluationConfig.model_validate(values), description, split)


def _measured(cls: type[BaseModel], name: str) -> bool:
    """Whether the field can change what is measured, as it is marked."""
    extra = cls.model_fields[name].json_schema_extra
    if not isinstance(extra, dict):
        return True  # a section is descended
    return extra["role"] == "identity" and extra.get("of") != "run"


def test_other_values_cover_every_field() -> None:
    assert set(OTHER) == set(EvaluationConfig.model_fields)
    assert set(OTHER_TASK) == set(TaskConfig.model_fields)


@pytest.mark.parametrize("name", OTHER)
def test_identity_fields_change_the_ids_and_runtime_fields_do_not(name: str) -> None:
    base = {**BASE, "final_tasks": ["last"]}
    changed = {
        split
        for split in ("selection", "held_out", "final")
        if _id({**base, name: OTHER[name]}, split=split) != _id(base, split=split)
    }
    of_its_own = {
        "tasks": {"selection", "held_out"},
        "split": {"selection", "held_out"},
        "final_tasks": {"final"},
        "guard": set(),  # the digest of its text is in the description of the selection split
    }
    everything = {"selection", "held_out", "final"}
    measured = _measured(EvaluationConfig, name)
    assert changed == (of_its_own.get(name, everything) if measured else set())


@pytest.mark.parametrize("name", OTHER)
def test_a_worker_finds_the_same_id(name: str) -> None:
    config = EvaluationConfig.model_validate({**BASE, name: OTHER[name]})
    sent = json.dumps(describe(config, MergeOptions()).model_dump(mode="json"))
    there = EvaluationConfig.model_validate(json.loads(sent)["arguments"]["evaluation"])
    assert evaluation_id(there, DESCRIPTION) == evaluation_id(config, DESCRIPTION)


@pytest.mark.parametrize("name", OTHER_TASK)
def test_task_fields_change_the_id_by_their_role(name: str) -> None:
    changed = _id({"tasks": [{"name": "first", name: OTHER_TASK[name]}]}) != _id(BASE)
    assert changed == _measured(TaskConfig, name)


def test_what_is_made_of_the_measured_needs_no_other_measurement() -> None:
    assert [name for name in OTHER_TASK if not _measured(TaskConfig, name)] == [
        "metric",
        "filter",
        "weight",
    ]


@pytest.mark.parametrize("change", [{"held_out": 0.25}, {"seed": 5}])
def test_how_items_are_held_out_changes_the_id(change: dict[str, Any]) -> None:
    assert _id({**BASE, "split": change}) != _id(BASE)
    assert set(SplitConfig.model_fields) == {"held_out", "seed", "calibration"}


def test_what_merges_learn_from_changes_an_id_by_the_items_that_are_left() -> None:
    """They are in the description, so evaluations of the held-out items stay what they were."""
    assert _id({**BASE, "split": {"calibration": 8}}) == _id(BASE)
    assert _id(BASE) == "evaluation2-cad8ee5a9725680293ae096c473b8362"


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
