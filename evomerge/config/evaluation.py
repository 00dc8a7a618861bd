"""The evaluation of a model: tasks, metrics, splits and lm-eval's settings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from evomerge.config.texts import TASK_PATTERN, FilePath, NonEmpty, TaskName, path_fault
from evomerge.domain.guard import Guard
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

BATCH_INVARIANT = "batch_invariant"
"""The one item of `model_args` that is no argument of lm-eval's: vLLM's VLLM_BATCH_INVARIANT."""
_SHARE, _SHARED = 0.9, 0.75
"""Shares of a GPU's memory for vllm: its default, and less if merges use the same GPU."""

PACKAGED = "default"
"""`guard.text` of the text that comes with evomerge."""

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
    """The items that selection does not see; `none` for no held-out items."""

    main = "held_out"
    short = (str, int, float)

    held_out: Annotated[float, BeforeValidator(_nothing)] = identity(
        default=0.5,
        ge=0,
        le=0.9,
        description="share of each task's items held out from selection, scored only at the end",
    )
    seed: int = identity(default=0, ge=0, lt=2**31, description="seed of the random split")
    calibration: int = identity(
        default=0,
        ge=0,
        le=100_000,
        description="number of each task's items that `merge.method: regmean_pp` sees, with their "
        "answers; they are neither held out nor scored",
    )


class TaskConfig(Spelled):
    """An lm-eval task and its metric."""

    main = "name"

    name: TaskName = identity(description="name of the task in lm-eval")
    metric: NonEmpty = identity_of_run(
        default="acc", description="name of the metric in lm-eval; higher values must be better"
    )
    filter: NonEmpty | None = identity_of_run(
        default=None, description="lm-eval's filter; required if the task has several"
    )
    weight: float = identity_of_run(
        default=1.0, gt=0, description="weight of the task in the objective"
    )
    fewshot: int | None = identity(
        default=None, ge=0, le=1000, description="examples in the prompt; default: the task's"
    )
    limit: int | None = identity(
        default=None, ge=1, description="score only the first so many items; default: all"
    )

    @model_validator(mode="after")
    def _higher_is_better(self) -> Self:
        if "," in self.metric:
            metric, _, name = self.metric.partition(",")
            what = f"write `metric: {metric.strip()}` and `filter: {name.strip()}`"
            refuse((("metric",), f"{self.metric!r} names a metric and a filter: {what}"))
        if self.metric in _LOWER_IS_BETTER:
            refuse((("metric",), f"use a metric whose higher values are better, not {self.metric}"))
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
                what = "do not write secrets to a config; set an environment variable (HF_TOKEN)"
                yield (key,), what
            elif key in _MODEL_ARGS_ELSEWHERE:
                yield (key,), f"this argument is not set here: {_MODEL_ARGS_ELSEWHERE[key]}"

    refuse_any(faults())
    return arguments


def _batch_size(size: object) -> object:
    number = isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= 65536
    if not number and size != "auto":
        refuse(((), "expected a number from 1 to 65536, or auto"))
    return size


BatchSize = Annotated[
    int | str,
    BeforeValidator(_batch_size),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65536}, {"const": "auto"}]}
    ),
]


class GuardConfig(Spelled):
    """Perplexity on a plain text, beside the scores of every model; `none` for no guard."""

    main = "text"

    text: NonEmpty = runtime(
        default=PACKAGED,
        description="default (packaged, English, about 1,200 tokens), the path of a text file, "
        "with a `/` or an ending (relative to the current folder), or a loglikelihood_rolling task "
        "of lm-eval; of longer texts the first 16,000 characters are used",
    )
    worse_than: float | None = identity_of_run(
        default=None,
        ge=1,
        description="a child is kept out of the search if its perplexity is above this factor "
        "times that of the best foundation model (the lowest); default: perplexity is only shown",
    )

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if self.path is not None and (fault := path_fault(self.path)):
            refuse((("text",), fault))
        if self.path is None and not re.fullmatch(TASK_PATTERN, self.text):
            what = "expected default, the path of a text file or the name of a task of lm-eval"
            refuse((("text",), f"{what}, got {self.text[:80]!r}"))
        return self

    @property
    def path(self) -> Path | None:
        """The file; None for the packaged text and for a task."""
        return Path(self.text) if "/" in self.text or "." in self.text else None

    @property
    def task(self) -> str | None:
        """The task of lm-eval; None for the packaged text and for a file."""
        return None if self.path or self.text == PACKAGED else self.text

    def anchored(self, root: Path) -> Self:
        """The same with an absolute path: a relative one starts at `root`, `~` is expanded."""
        if self.path is None:
            return self
        return self.model_copy(update={"text": str(root.absolute() / self.path.expanduser())})

    @property
    def recorded(self) -> Guard:
        """As the run's journal has it."""
        return Guard(text=self.text, worse_than=self.worse_than)


def _no_guard(value: Any) -> Any:
    return None if value == "none" else value


class EvaluationConfig(Value):
    """Tasks, objective, split and lm-eval's settings."""

    tasks: Annotated[
        tuple[TaskConfig, ...], Field(min_length=1), AfterValidator(_each_task_once)
    ] = Field(description="the lm-eval tasks, scored from 0 to 100 points")
    objective: ObjectiveName = identity_of_run(
        default="mean",
        description="how task scores are combined: mean: weighted mean; worst: the weakest task "
        "(with unequal weights, a task's distance to 100 is scaled by its weight); relative: mean "
        "percentage of the best foundation model's score on each task; geometric: weighted "
        "geometric mean",
    )
    skill_kept_at: float = runtime(
        default=0.8,
        gt=0,
        le=1,
        description="a model keeps a skill if it has at least this share of the best foundation "
        "model's score on the task; reported only, never part of a decision",
    )
    split: SplitConfig = SplitConfig()
    final_tasks: Annotated[tuple[TaskConfig, ...], AfterValidator(_each_task_once)] = Field(
        default=(), description="further tasks, scored only at the end of the run"
    )
    guard: Annotated[GuardConfig | None, BeforeValidator(_no_guard)] = Field(
        default=None, description="perplexity beside the scores; default: none"
    )
    include: tuple[FilePath, ...] = runtime(
        default=(), description="folders of task YAML files (relative to the current folder)"
    )
    backend: NonEmpty = identity(
        default="hf",
        description="what runs the models: hf, vllm, another model type of lm-eval, or "
        "package.module:Class",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = identity(
        default="auto", description="dtype of models during evaluation; auto: that of the weights"
    )
    batch_size: BatchSize = identity(
        default=8,
        description="requests of a batch, which affects scores; auto: chosen once for the run by a "
        "probe with the largest model, then recorded (vllm batches by itself)",
    )
    max_length: int | None = identity(
        default=None, ge=1, description="context length in tokens; default: the model's"
    )
    chat_template: bool = identity(default=False, description="apply the model's chat template")
    system_instruction: str | None = identity(default=None, description="system prompt")
    model_args: Annotated[dict[NonEmpty, str | int | float | bool], AfterValidator(_model_args)] = (
        identity(
            default_factory=dict,
            description="further arguments of lm-eval's model class; for vllm, "
            "tensor_parallel_size is the number of GPUs of an engine, and batch_invariant: true "
            "makes its numbers independent of what is in a batch",
        )
    )
    gen_kwargs: dict[NonEmpty, str | int | float | bool | tuple[str, ...]] = identity(
        default_factory=dict, description="overrides of the tasks' generation settings"
    )
    seed: int = identity(
        default=1234, ge=0, lt=2**32, description="seed of few-shot examples and sampling"
    )
    allow_unsafe: tuple[NonEmpty, ...] = runtime(
        default=(), description="tasks that are allowed to run generated code or code of their own"
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
    def fixed_batch_size(self) -> int | None:
        """The batch size; None where something else chooses it."""
        return self.batch_size if isinstance(self.batch_size, int) else None

    @property
    def is_probed(self) -> bool:
        """Whether the batch size is chosen by a probe."""
        return self.batch_size == "auto" and self.backend == "hf"

    @property
    def gpus_per_engine(self) -> int:
        """How many GPUs hold one model together; more than one with vllm only."""
        sizes = (self.model_args.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline"))
        return math.prod(map(int, sizes)) if self.backend == "vllm" else 1

    def gpu_share(self, *, merges_on_gpu: bool) -> float:
        """The share of a GPU's memory that a vllm engine reserves during a run."""
        own = self.model_args.get("gpu_memory_utilization")
        return float(own) if own is not None else _SHARED if merges_on_gpu else _SHARE

    @property
    def batch_invariant(self) -> bool:
        """Whether vllm computes each item as if it were alone."""
        return self.backend == "vllm" and bool(self.model_args.get(BATCH_INVARIANT))

    @property
    def every_task(self) -> dict[str, TaskConfig]:
        """All tasks by their key in the config, such as `evaluation.tasks.1`."""
        return {
            f"evaluation.{kind}.{i}": task
            for kind in ("tasks", "final_tasks")
            for i, task in enumerate(getattr(self, kind))
        }

    @property
    def held_out_splits(self) -> tuple[Split, ...]:
        """The splits that the best and the foundation models are scored on at the end of a run."""
        held_out: tuple[Split, ...] = ("held_out",) if self.split.held_out else ()
        final: tuple[Split, ...] = ("final",) if self.final_tasks else ()
        return held_out + final
