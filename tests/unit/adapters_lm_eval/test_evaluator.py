"""The parent's side, with a stand-in for the child process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evomerge.adapters.lm_eval.evaluator import LmEvalEvaluator
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.ports import Progress

CONFIG = EvaluationConfig.model_validate({"tasks": ["one"], "seed": 3})
SCORE = {
    "task": "one",
    "metric": "acc",
    "filter": "none",
    "value": 50.0,
    "stderr": 5.0,
    "samples": 9,
}
NORM = {**SCORE, "metric": "acc_norm", "value": 70.0}
PARTS = ("selection", "held_out", "final")


def _silent(done: int, total: int) -> None: ...


class FakeChild:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.description: dict[str, Any] = {"tasks": {"one": "digest"}}
        self.counted = ["acc,none"]
        self.warnings: list[dict[str, Any]] = []

    def call(
        self,
        operation: str,
        payload: Mapping[str, Any],
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        self.calls.append((operation, payload))
        if operation == "describe":
            return {
                "descriptions": dict.fromkeys(PARTS, self.description),
                "counted": dict.fromkeys(PARTS, self.counted),
            }
        tasks = [SCORE, NORM]
        return {"description": self.description, "tasks": tasks, "warnings": self.warnings}

    def close(self) -> None:
        self.calls.append(("close", {}))


@pytest.fixture
def child() -> FakeChild:
    return FakeChild()


def _evaluator(child: FakeChild, tmp_path: Path, device: str = "cpu") -> LmEvalEvaluator:
    return LmEvalEvaluator(CONFIG, device, tmp_path / "log", child=child)


def test_tasks_are_described_once(child: FakeChild, tmp_path: Path) -> None:
    evaluator = _evaluator(child, tmp_path)
    assert evaluator.evaluation_id == evaluator.evaluation_id
    assert [operation for operation, _ in child.calls] == ["describe"]


def test_the_device_is_no_part_of_the_id(child: FakeChild, tmp_path: Path) -> None:
    ids = {_evaluator(child, tmp_path, device).evaluation_id for device in ("cpu", "cuda:1")}
    assert len(ids) == 1


def test_code_from_model_folders_is_part_of_the_id(child: FakeChild, tmp_path: Path) -> None:
    trusting = LmEvalEvaluator(CONFIG, "cpu", tmp_path, trust_remote_code=True, child=child)
    assert trusting.evaluation_id != _evaluator(child, tmp_path).evaluation_id


def test_scores_and_warnings(child: FakeChild, tmp_path: Path) -> None:
    child.warnings = [
        {"kind": "cut_off", "task": "one", "count": 3, "total": 9, "trouble": "answers are long"}
    ]
    evaluator = _evaluator(child, tmp_path)
    scores = evaluator.evaluate(tmp_path, tmp_path, _silent)
    assert scores.evaluation_id == evaluator.evaluation_id
    assert [task.value for task in evaluator.chosen(scores).tasks] == [50.0]
    written = json.loads((tmp_path / "warnings.json").read_text(encoding="utf-8"))
    assert written == child.warnings


def test_another_metric_and_weight_are_read_from_what_was_measured(
    child: FakeChild, tmp_path: Path
) -> None:
    measured = _evaluator(child, tmp_path).evaluate(tmp_path, tmp_path, _silent)
    child.counted = ["acc_norm,none"]
    given = {"tasks": [{"name": "one", "metric": "acc_norm", "weight": 3}], "seed": 3}
    other = LmEvalEvaluator(
        EvaluationConfig.model_validate(given), "cpu", tmp_path / "log", child=child
    )
    assert other.evaluation_id == measured.evaluation_id
    (chosen,) = other.chosen(measured).tasks
    assert (chosen.metric, chosen.value, chosen.weight) == ("acc_norm", 70.0, 3.0)
    child.counted = ["f1,none"]
    unmeasured = _evaluator(child, tmp_path)
    assert unmeasured.evaluation_id
    with pytest.raises(CandidateError, match="no usable 'f1,none'"):
        unmeasured.chosen(measured)


def test_the_parts_share_a_child(child: FakeChild, tmp_path: Path) -> None:
    evaluator = _evaluator(child, tmp_path)
    held_out = evaluator.on("held_out")
    assert held_out.evaluation_id == evaluator.evaluation_id  # this child tells them not apart
    held_out.evaluate(tmp_path, tmp_path, _silent)
    evaluator.evaluate(tmp_path, tmp_path, _silent)
    assert [operation for operation, _ in child.calls] == ["describe", "evaluate", "evaluate"]
    assert [call.get("part") for _, call in child.calls] == [None, "held_out", "selection"]
    with pytest.raises(ValueError, match="no part 'final'"):
        evaluator.on("final")


def test_no_warnings_no_file(child: FakeChild, tmp_path: Path) -> None:
    _evaluator(child, tmp_path).evaluate(tmp_path, tmp_path, _silent)
    assert list(tmp_path.iterdir()) == []


def test_tasks_that_change_under_a_run_are_an_error(child: FakeChild, tmp_path: Path) -> None:
    evaluator = _evaluator(child, tmp_path)
    assert evaluator.evaluation_id
    child.description = {"tasks": {"one": "another digest"}}
    with pytest.raises(CandidateError, match="changed while the run was going on"):
        evaluator.evaluate(tmp_path, tmp_path, _silent)


def test_tasks_that_a_new_child_cannot_load_fail_the_candidate(
    child: FakeChild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> dict[str, Any]:
        raise PreflightError("the hub cannot be reached")

    evaluator = _evaluator(child, tmp_path)
    assert evaluator.evaluation_id
    monkeypatch.setattr(child, "call", fail)
    with pytest.raises(CandidateError, match="the hub cannot be reached"):
        evaluator.evaluate(tmp_path, tmp_path, _silent)


def test_includes_reach_the_child_as_absolute_paths(
    child: FakeChild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = EvaluationConfig.model_validate({"tasks": ["one"], "include": ["tasks"]})
    evaluator = LmEvalEvaluator(config, "cpu", tmp_path / "log", child=child)
    assert evaluator.evaluation_id
    assert child.calls[0][1]["evaluation"]["include"] == [str(tmp_path / "tasks")]


def test_close_ends_the_child(child: FakeChild, tmp_path: Path) -> None:
    _evaluator(child, tmp_path).close()
    assert child.calls == [("close", {})]


def test_the_parent_imports_no_model_library() -> None:
    code = (
        "import sys, evomerge.adapters.lm_eval.evaluator; "
        "sys.exit(bool({'torch', 'lm_eval', 'transformers', 'datasets'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
