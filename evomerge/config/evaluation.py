"""What a score is: tasks, metrics, and how the model is run to measure them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from evomerge.config.texts import FilePath, NonEmpty, TaskName
from evomerge.domain.objective import ObjectiveName
from evomerge.domain.scores import Split
from evomerge.domain.settings import (
    Fault,
    Spelled,
    identity,
    identity_of_run,
    refuse,
    refuse_any,
    runtime,
)
from evomerge.domain.value import Value

_LOWER_IS_BETTER = {
    "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter",
}  # fmt: skip
_SECRET = re.compile(r"(?i)(.*(token|api_?key|password|passwd|secret|credentials?|auth)|auth.*)")
_LOOKS_SECRET = re.compile(r"(hf_|sk-|gh[pousr]_)[A-Za-z0-9_-]{16,}")
_MODEL_ARGS_ELSEWHERE = {
    "pretrained": "evomerge fills in each model",
    "model": "evomerge fills in each model",
    "device": "it is set by `execution.devices`",
    "dtype": "it is set by `evaluation.dtype`",
    "batch_size": "it is set by `evaluation.batch_size`",
    "max_length": "it is set by `evaluation.max_length`",
    "max_model_len": "it is set by `evaluation.max_length`",
    "trust_remote_code": "it is set by `merge.options.trust_remote_code`",
}


def _nothing(value: Any) -> Any:
    return 0.0 if value == "none" else value


class SplitConfig(Spelled):
    """Which items selection never sees; `none` for none of them."""

    main = "held_out"
    short = (str, int, float)

    held_out: Annotated[float, BeforeValidator(_nothing)] = identity(
        default=0.5,
        ge=0,
        le=0.9,
        description="share of each task's items that only the end of the run scores; 0: none",
    )
    seed: int = identity(default=0, ge=0, lt=2**31, description="of the choice of the items")


class TaskConfig(Spelled):
    """One lm-eval task and the metric that counts."""

    main = "name"

    name: TaskName = identity(description="lm-eval's name of the task")
    metric: NonEmpty = identity_of_run(
        default="acc", description="lm-eval's name of the metric; a higher value must be better"
    )
    filter: NonEmpty | None = identity_of_run(
        default=None, description="lm-eval's filter; needed where a task has several"
    )
    weight: float = identity_of_run(default=1.0, gt=0, description="of the task in the objective")
    fewshot: int | None = identity(
        default=None, ge=0, le=1000, description="examples in the prompt; default: the task's own"
    )
    limit: int | None = identity(
        default=None, ge=1, description="only the first items; default all"
    )

    @model_validator(mode="after")
    def _higher_is_better(self) -> Self:
        if "," in self.metric:
            metric, _, name = self.metric.partition(",")
            what = f"write `metric: {metric.strip()}` and `filter: {name.strip()}`"
            refuse((("metric",), f"{self.metric!r} names a metric and a filter: {what}"))
        if self.metric in _LOWER_IS_BETTER:
            refuse((("metric",), f"{self.metric} falls as models improve; a score must rise"))
        return self


def _each_task_once(tasks: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
    first = {task.name: i for i, task in reversed(list(enumerate(tasks)))}
    refuse_any(
        ((i, "name"), f"the task {task.name!r} again; evaluation.tasks.{first[task.name]} has it")
        for i, task in enumerate(tasks)
        if first[task.name] != i
    )
    return tasks


def _model_args(arguments: dict[str, Any]) -> dict[str, Any]:
    def faults() -> Iterator[Fault]:
        for key, value in arguments.items():
            if isinstance(value, str) and (
                _SECRET.fullmatch(key) or _LOOKS_SECRET.fullmatch(value)
            ):
                what = "a secret has no place in a config; set it in the environment (HF_TOKEN)"
                yield (key,), what
            elif key in _MODEL_ARGS_ELSEWHERE:
                yield (key,), f"this argument is not set here: {_MODEL_ARGS_ELSEWHERE[key]}"

    refuse_any(faults())
    return arguments


class EvaluationConfig(Value):
    """What a score is."""

    tasks: Annotated[
        tuple[TaskConfig, ...], Field(min_length=1), AfterValidator(_each_task_once)
    ] = Field(description="the lm-eval tasks that a score is made of, 0–100 points each")
    objective: ObjectiveName = identity_of_run(
        default="mean",
        description="what the tasks come to: their weighted mean; the weakest task (of lighter "
        "tasks less of what is missing counts); the mean share kept of the best foundation model "
        "on each task, in percent; the weighted geometric mean",
    )
    skill_kept_at: float = runtime(
        default=0.8,
        gt=0,
        le=1,
        description="share of the best foundation model's score on a task from which a model "
        "counts as having kept the skill; shown, never part of a decision",
    )
    split: SplitConfig = SplitConfig()
    final_tasks: Annotated[tuple[TaskConfig, ...], AfterValidator(_each_task_once)] = Field(
        default=(), description="further tasks, scored only at the end: selection never sees them"
    )
    include: tuple[FilePath, ...] = runtime(
        default=(), description="folders of task YAML files (from the current folder)"
    )
    backend: NonEmpty = identity(
        default="hf",
        description="how models are run: hf, vllm, another model type of lm-eval by its name, or "
        "package.module:Class",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = identity(
        default="auto", description="of the model when scored; auto: that of its weights"
    )
    batch_size: int = identity(
        default=8, ge=1, le=65536, description="fixed, never `auto`: it can change scores"
    )
    max_length: int | None = identity(
        default=None, ge=1, description="window in tokens; default: the model's"
    )
    chat_template: bool = identity(default=False, description="apply the model's chat template")
    system_instruction: str | None = identity(default=None, description="system prompt")
    model_args: Annotated[dict[NonEmpty, str | int | float | bool], AfterValidator(_model_args)] = (
        identity(default_factory=dict, description="further arguments of lm-eval's model")
    )
    gen_kwargs: dict[NonEmpty, str | int | float | bool | tuple[str, ...]] = identity(
        default_factory=dict, description="over each task's own generation settings"
    )
    seed: int = identity(
        default=1234, ge=0, lt=2**32, description="of few-shot choice and sampling"
    )
    allow_unsafe: tuple[NonEmpty, ...] = runtime(
        default=(), description="tasks that may run model output or code of their own"
    )

    @model_validator(mode="after")
    def _final_tasks_are_new(self) -> Self:
        seen = {task.name: i for i, task in enumerate(self.tasks)}
        refuse_any(
            (
                ("final_tasks", i, "name"),
                f"selection sees the task {task.name!r}: evaluation.tasks.{seen[task.name]} has it",
            )
            for i, task in enumerate(self.final_tasks)
            if task.name in seen
        )
        return self

    @property
    def every_task(self) -> dict[str, TaskConfig]:
        """All tasks by their key of the config, as `evaluation.tasks.1`."""
        return {
            f"evaluation.{kind}.{i}": task
            for kind in ("tasks", "final_tasks")
            for i, task in enumerate(getattr(self, kind))
        }

    @property
    def held_out_splits(self) -> tuple[Split, ...]:
        """What the end of a run scores the best and the foundation models on."""
        held_out: tuple[Split, ...] = ("held_out",) if self.split.held_out else ()
        final: tuple[Split, ...] = ("final",) if self.final_tasks else ()
        return held_out + final
