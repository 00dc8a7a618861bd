"""Evaluation ids: digests of the config's identity fields and the harness's description.

The description (`data.description`) adds what a config lacks: versions of libraries and tasks, and
digests of every task's resolved config and of the scored items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from evomerge.adapters.lm_eval.secrets import without_secrets
from evomerge.config import EvaluationConfig
from evomerge.domain.identity import content_id
from evomerge.domain.scores import Split

_VERSION = 2


def evaluation_id(
    config: EvaluationConfig, description: Mapping[str, Any], split: Split = "selection"
) -> str:
    """The id of everything except the model that determines what an evaluation measures.

    Which metrics count, and their weights, are not part of it: all metrics are stored, so another
    choice reuses them. Splits differ by their tasks and items (`description`), so `final_tasks`
    does not affect the ids of other splits.

    The id depends on all tasks together and their order: lm-eval batches the requests of all tasks
    as one list, and the neighbours in a batch can change a score in half precision.
    """
    fields = identity_fields(config)
    fields.pop("guard", None)  # its text is in the description of the split that measures it
    final_tasks = fields.pop("final_tasks")
    for record in fields["split"]:
        del record["calibration"]  # the items that are left say as much
    if split == "final":
        del fields["split"]
        fields["tasks"] = final_tasks
    fields["model_args"] = without_secrets(config.model_args)
    return content_id("evaluation", _VERSION, {"config": fields, "harness": dict(description)})


def identity_fields(value: BaseModel) -> dict[str, Any]:
    """The fields that can change a measurement, as JSON values, including nested records.

    Raises:
        TypeError: a field is marked neither `identity` nor `runtime`.
    """
    fields = value.model_dump(mode="json")
    kept: dict[str, Any] = {}
    for name, field in type(value).model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        nested = _records(getattr(value, name))
        match extra.get("role"):
            case "identity" if extra.get("of") != "run":
                kept[name] = fields[name]
            case None if getattr(value, name) is None:
                pass  # an optional section that is not there
            case None if nested is not None:
                kept[name] = [identity_fields(record) for record in nested]
            case None:
                raise TypeError(f"{type(value).__name__}.{name} is neither identity nor runtime")
    return kept


def _records(value: object) -> list[BaseModel] | None:
    if isinstance(value, BaseModel):
        return [value]
    if isinstance(value, tuple) and all(isinstance(item, BaseModel) for item in value):
        return list(value)
    return None
