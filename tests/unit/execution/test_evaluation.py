"""What is read from the answers of workers that score."""

from __future__ import annotations

from typing import Any

import pytest

from evomerge.config import EvaluationConfig, MergeOptions
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.scores import Scores
from evomerge.execution.evaluation import Evaluation, agreed
from evomerge.execution.operations import describe

ACC = {"task": "one", "metric": "acc", "filter": "none", "value": 50.0, "samples": 9}
MEASURED = Scores.model_validate(
    {"evaluation_id": "e", "tasks": [ACC, {**ACC, "metric": "acc_norm", "value": 70.0}]}
)


def answer(metric: str = "acc", weight: float = 1.0, **ids: str) -> dict[str, Any]:
    counted = [{"task": "one", "metric": metric, "filter": "none", "weight": weight}]
    ids = ids or {"selection": "e"}
    return {"ids": ids, "counted": dict.fromkeys(ids, counted)}


def test_the_metric_that_counts_is_read_from_all_that_was_measured() -> None:
    first = Evaluation.model_validate(answer())
    assert [task.value for task in first.chosen(MEASURED, "selection").tasks] == [50.0]
    other = Evaluation.model_validate(answer("acc_norm", weight=3))
    (chosen,) = other.chosen(MEASURED, "selection").tasks
    assert (chosen.metric, chosen.value, chosen.weight) == ("acc_norm", 70.0, 3.0)
    with pytest.raises(CandidateError, match="no usable 'f1,none'"):
        Evaluation.model_validate(answer("f1")).chosen(MEASURED, "selection")


def test_workers_that_agree_give_one_evaluation() -> None:
    both = agreed([("scoring on cuda:0", answer()), ("scoring on cuda:1", answer())])
    assert both == Evaluation.model_validate(answer())


def test_workers_that_disagree_are_both_named() -> None:
    first, second = answer(selection="e", held_out="h"), answer(selection="e", held_out="other")
    with pytest.raises(PreflightError) as caught:
        agreed([("scoring on cuda:0", first), ("scoring on cuda:1", second)])
    for word in ("scoring on cuda:0", "scoring on cuda:1", "held_out", "h,", "other"):
        assert word in caught.value.message
    assert "execution.devices" in (caught.value.remedy or "")


def test_includes_reach_a_worker_as_absolute_paths(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = EvaluationConfig.model_validate({"tasks": ["one"], "include": ["tasks"]})
    asked = describe(config, MergeOptions()).arguments["evaluation"]
    assert asked["include"] == [str(tmp_path / "tasks")]
