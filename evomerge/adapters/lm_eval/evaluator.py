"""The `Evaluator` of real models: lm-eval, in a child process that lives as long as the run."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from evomerge.adapters.child import Child
from evomerge.adapters.lm_eval.basis import basis
from evomerge.adapters.lm_eval.identity import evaluation_id
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.scores import Part, Scores, TaskScore
from evomerge.ports import Progress
from evomerge.store.cache import Cache

_CHILD = "evomerge.adapters.lm_eval.child"
_WARNINGS = "warnings.json"


class Caller(Protocol):
    """What is needed of a child process."""

    def start(self) -> None:
        """See `evomerge.adapters.child.Child.start`."""

    def call(
        self,
        operation: str,
        payload: Mapping[str, Any],
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """See `evomerge.adapters.child.Child.call`."""

    def close(self) -> None:
        """End the process."""


class LmEvalEvaluator:
    """Scores models on one device with lm-eval.

    Args:
        config: what a score is; include folders are relative to the working directory.
        device: `cpu` or `cuda:<number>`; no part of the evaluation id.
        log: file for what the child and its libraries print.
        timeout: seconds that one evaluation may take.
        trust_remote_code: run Python code from model folders; part of the evaluation id if so.
        allow_pickle: load weights that are not safetensors.
        cache: where descriptions of tasks are remembered; the child is asked each time if None.
        child: stands in for the child process in tests.

    `on` gives the same for another part of the items, over the same child.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        device: str,
        log: Path,
        timeout: float | None = None,
        *,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        cache: Cache | None = None,
        child: Caller | None = None,
    ) -> None:
        self._config = config
        self._timeout = timeout
        environment, device = _placed(config, device)
        self._child: Caller = child or Child(_CHILD, log, environment, name=f"scoring on {device}")
        include = tuple(path.expanduser().resolve() for path in config.include)
        sent = config.model_copy(update={"include": include})
        self._payload = {
            "evaluation": sent.model_dump(mode="json"),
            "place": {
                "device": device,
                "trust_remote_code": trust_remote_code,
                "allow_pickle": allow_pickle,
            },
        }
        self._trusting = trust_remote_code
        self._part: Part = "selection"
        # Of all parts, shared by the evaluators of this child: see `lm_eval.child.describe`.
        self._described: dict[str, Any] = {}
        self._cache = cache

    def on(self, part: Part) -> LmEvalEvaluator:
        """The evaluator of another part of the items, over the same child process."""
        if part not in ("selection", *self._config.confirmation):
            raise ValueError(f"this evaluation has no part {part!r}")
        other = copy.copy(self)
        other._part = part  # noqa: SLF001, its own
        return other

    def start(self) -> None:
        """Start the child, so that it imports torch and lm-eval in the background."""
        self._child.start()

    @property
    def is_described(self) -> bool:
        """Whether the evaluation id can be told without the child."""
        if not self._described and self._cache is not None:
            rests_on = basis(self._payload)
            self._described |= (rests_on and self._cache.get(rests_on)) or {}
        return bool(self._described)

    @property
    def evaluation_id(self) -> str:
        """The id of everything but the model that determines the scores; loads the tasks once.

        Raises:
            PreflightError: every task, metric, filter, item or device that cannot be used, a line
                each, with its key of the config.
            CandidateError: the child died.
        """
        if not self.is_described:
            rests_on = basis(self._payload) if self._cache is not None else None
            self._described |= self._child.call("describe", self._payload)
            # What changed while the child was reading may or may not be in its answer.
            if self._cache is not None and rests_on and basis(self._payload) == rests_on:
                self._cache.put(rests_on, self._described)
        return self._id(self._described["descriptions"][self._part])

    def evaluate(self, model: Path, into: Path, progress: Progress) -> Scores:
        """Score the model in folder `model`: every metric that lm-eval gives.

        Writes into the empty folder `into`: `samples_<task>.jsonl` (see `results.write_samples`)
        and, if there are any, `warnings.json` (a list of `EvaluationWarning`).

        Args:
            progress: counts lm-eval's requests.

        Raises:
            CandidateError: the evaluation failed, a weight, log-likelihood or score is not finite,
                or the tasks are no longer those that `evaluation_id` was made of.
        """
        expected = self.evaluation_id
        paths = {"model": str(model.resolve()), "into": str(into.resolve())}
        payload = {**self._payload, "part": self._part, **paths}
        try:
            result = self._child.call("evaluate", payload, progress, self._timeout)
        except PreflightError as error:  # a child that was started anew loads the tasks anew
            raise CandidateError(error.message, error.remedy) from None
        if self._id(result["description"]) != expected:
            if self._cache is not None and (rests_on := basis(self._payload)):
                self._cache.drop(rests_on)
            raise CandidateError(
                "a task's definition or data, or a library, changed while the run was going on"
            )
        if result["warnings"]:
            text = json.dumps(result["warnings"], ensure_ascii=False, indent=1)
            (into / _WARNINGS).write_text(text + "\n", encoding="utf-8")
        tasks = tuple(TaskScore.model_validate(task) for task in result["tasks"])
        return Scores(evaluation_id=expected, tasks=tasks)

    def chosen(self, measured: Scores) -> Scores:
        """The metrics that count under this config, with its weights.

        Raises:
            CandidateError: one was not measured: it was no share between 0 and 1.
        """
        by_key = {(task.task, f"{task.metric},{task.filter}"): task for task in measured.tasks}
        chosen = []
        tasks = self._config.final_tasks if self._part == "final" else self._config.tasks
        for task, key in zip(tasks, self._described["counted"][self._part], strict=True):
            found = by_key.get((task.name, key))
            if found is None:
                raise CandidateError(f"task {task.name!r} has no usable {key!r} for this model")
            chosen.append(found.model_copy(update={"weight": task.weight}))
        return Scores(evaluation_id=measured.evaluation_id, tasks=tuple(chosen))

    def _id(self, description: Mapping[str, Any]) -> str:
        if self._trusting:
            description = {**description, "trust_remote_code": True}
        return evaluation_id(self._config, description, self._part)

    def close(self) -> None:
        """End the child; a further evaluation starts a new one."""
        self._child.close()


def _placed(config: EvaluationConfig, device: str) -> tuple[dict[str, str], str]:
    """The child's environment and its name for `device`.

    vllm takes no device but the first that it can see.
    """
    kind, _, number = device.partition(":")
    if config.backend != "vllm" or kind != "cuda" or not number.isdigit():
        return {}, device
    visible = [item for item in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if item]
    chosen = visible[int(number)] if int(number) < len(visible) else number
    return {"CUDA_VISIBLE_DEVICES": chosen}, "cuda:0"
