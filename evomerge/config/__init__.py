"""The schema of a config, one module a section; `configfile` reads it from YAML with line numbers.

Every setting is marked `identity` (it can change a result, so it belongs to the identity of a run)
or `runtime` (it cannot). Fields that hold a section, or a list of sections, have no mark.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from evomerge.config.choices import (
    DEFAULT_STRATEGY,
    AnyCriterion,
    AnyStrategy,
)
from evomerge.config.evaluation import EvaluationConfig, GuardConfig, TaskConfig
from evomerge.config.merging import (
    MergeConfig,
    MergeOptions,
    RawMerge,
    RegmeanMerge,
    WudiMerge,
)
from evomerge.config.models import TOKENIZERS, FoundationModels, ModelConfig
from evomerge.config.notifying import NotifyConfig
from evomerge.config.parameters import Filtered, Gradient, Number, Parameter
from evomerge.config.texts import Device, FilePath, ModelName, NonEmpty, is_file_name
from evomerge.domain.kinship import Metric
from evomerge.domain.model import Retention
from evomerge.domain.settings import Fault, identity, refuse, refuse_any, runtime
from evomerge.domain.value import Value
from evomerge.stopping import CRITERIA, KinshipSaturation, MaxGenerations, NoImprovement
from evomerge.strategies import STRATEGIES
from evomerge.strategies.kinship import KinshipGuided

CONFIG_VERSION = 1
_ADDRESS = re.compile(r"auto|(ray://)?[A-Za-z0-9.\[\]:_-]+:[0-9]{1,5}")

__all__ = [
    "CONFIG_VERSION",
    "DEFAULT_STRATEGY",
    "Config",
    "EvaluationConfig",
    "ExecutionConfig",
    "Filtered",
    "Gradient",
    "GuardConfig",
    "KinshipConfig",
    "MergeConfig",
    "MergeOptions",
    "ModelConfig",
    "NotifyConfig",
    "Number",
    "Parameter",
    "RawMerge",
    "RegmeanMerge",
    "RunConfig",
    "TaskConfig",
    "WorkerResources",
    "WudiMerge",
]


def runs_folder() -> Path:
    """The runs folder where none is named."""
    return Path(os.environ.get("EVOMERGE_RUNS") or "runs")


def is_run_name(name: str) -> bool:
    """Whether a run may have this name."""
    return is_file_name(name) and name.lower() != "store"


class RunConfig(Value):
    """Name, location and random seed of the run."""

    name: ModelName = runtime(description="name of the run and of its folder below `dir`")
    dir: FilePath = runtime(
        default_factory=runs_folder,
        description="the runs folder, shared by all runs; default: the environment variable "
        "EVOMERGE_RUNS, else runs",
    )
    seed: int = identity(default=0, ge=0, lt=2**31, description="random seed of the run")

    @model_validator(mode="after")
    def _not_the_store(self) -> Self:
        if not is_run_name(self.name):
            refuse((("name",), "`store` is the folder shared by all runs; choose another name"))
        return self


class KinshipConfig(Value):
    """How kinship is measured."""

    metric: Metric = identity(default=Metric.PCC, description="pcc, cosine or euclidean")
    exclude: tuple[NonEmpty, ...] = identity(
        default=(), description="patterns of tensor names to exclude, `*` matches anything"
    )


def _devices(devices: tuple[str, ...]) -> tuple[str, ...]:
    if "auto" in devices and len(devices) > 1:
        refuse(((devices.index("auto"),), "`auto` means all GPUs; it must be the only entry"))
    return devices


class WorkerResources(Value):
    """What one worker reserves of a node of a Ray cluster."""

    cpus: float = runtime(default=1.0, ge=0, le=4096, description="CPUs")
    gpus: float | None = runtime(
        default=None,
        ge=0,
        le=1024,
        description="GPUs, or a share of one, such as 0.5; default: of an evaluation as many as "
        "its model takes if the cluster has GPUs, of a merge none",
    )
    memory_gb: float = runtime(default=0.0, ge=0, description="memory; 0: none is reserved")

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            refuse((("gpus",), f"expected a share of one GPU or a whole number, got {self.gpus:g}"))
        return self


def _address(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        refuse(((), f"expected auto, host:port or ray://host:port, got {address[:80]!r}"))
    return address


class ExecutionConfig(Value):
    """Devices, parallelism, limits and retries."""

    executor: Literal["local", "ray"] = runtime(
        default="local",
        description="what runs the workers: processes of this machine, or the nodes of a Ray "
        "cluster",
    )
    address: Annotated[str, AfterValidator(_address)] = runtime(
        default="auto",
        description="with executor ray, the cluster: auto (that of this machine or of "
        "RAY_ADDRESS), host:port of its head, or ray://host:port",
    )
    merge: WorkerResources = Field(
        default=WorkerResources(), description="with executor ray, what a merge worker reserves"
    )
    evaluation: WorkerResources = Field(
        default=WorkerResources(),
        description="with executor ray, what an evaluation worker reserves",
    )
    evaluation_workers: int | None = runtime(
        default=None,
        ge=1,
        le=4096,
        description="with executor ray, the number of evaluation workers; default: as many as the "
        "cluster has room for beside the merge workers",
    )
    devices: Annotated[
        tuple[Device, ...],
        Field(min_length=1, max_length=1024),
        AfterValidator(_devices),
    ] = runtime(
        default=("auto",),
        description="devices of this machine with one evaluation worker each: cpu, cuda:0 (cpu*2 "
        "or a repeated entry: several workers on it); auto: all GPUs, else one cpu",
    )
    merge_workers: int = runtime(
        default=1, ge=1, le=64, description="number of merges at a time, each in a process"
    )
    merges_ahead: int = runtime(
        default=2, ge=1, description="maximum number of merged children that wait for evaluation"
    )
    min_free_disk_gb: float = runtime(
        default=0.0, ge=0, description="the run stops when the disk of the store has less free"
    )
    min_free_memory_gb: float = runtime(
        default=0.0,
        ge=0,
        description="while less is free, merges wait for running evaluations to finish",
    )
    attempts: int = runtime(
        default=2, ge=1, le=100, description="maximum number of attempts at a merge or evaluation"
    )
    max_failures: int = runtime(
        default=4, ge=1, description="number of consecutive failures that stop the run"
    )
    timeout_minutes: float | None = runtime(
        default=None, gt=0, description="time limit of one merge or evaluation; default: none"
    )
    hub_patience_minutes: float = runtime(
        default=30.0,
        ge=0,
        description="requests to a failing hub are retried for this long without progress; then "
        "the run stops (exit code 75)",
    )
    report: bool = runtime(
        default=True, description="write report.html after every generation and at the end"
    )

    @property
    def timeout_seconds(self) -> float | None:
        """`timeout_minutes` in seconds."""
        return None if self.timeout_minutes is None else self.timeout_minutes * 60


class Config(Value):
    """The config of a run."""

    run: RunConfig
    base_model: ModelConfig = Field(
        description="the pre-trained model; task vectors are differences from its weights"
    )
    foundation_models: FoundationModels = Field(
        description="the fine-tuned models that evolution starts from (generation 0)"
    )
    strategy: AnyStrategy = Field(
        default=KinshipGuided(), description="the strategy that proposes merges, by name"
    )
    merge: MergeConfig = Field(description="merge method and its parameters")
    kinship: KinshipConfig = KinshipConfig()
    evaluation: EvaluationConfig
    stopping: Annotated[tuple[AnyCriterion, ...], Field(min_length=1)] = identity(
        default=(
            NoImprovement(patience=2),
            MaxGenerations(max_generations=10),
        ),
        description="stopping criteria, checked after each generation; the first one met ends the "
        "search",
    )
    execution: ExecutionConfig = ExecutionConfig()
    retention: Retention = runtime(
        default="all",
        description="models whose weights are kept: all, possible parents (pool), the best; of the "
        "others a sample of about 2 MB is kept, from which their kinship is estimated",
    )
    tracking: Annotated[
        tuple[Literal["trackio", "wandb", "tensorboard", "mlflow"], ...], Field(max_length=4)
    ] = runtime(
        default=(),
        description="experiment trackers that mirror the run, each an extra to install; their "
        "errors never stop it",
    )

    notify: NotifyConfig | None = Field(
        default=None, description="who is told of the end, stops, new best models and failures"
    )

    def plugin_versions(self) -> dict[str, str]:
        """Versions of the packages that provide its strategy and criteria, without evomerge."""
        versions = STRATEGIES.provider(self.strategy)
        for criterion in self.stopping:
            versions |= CRITERIA.provider(criterion)
        return versions

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        refuse_any(self._disagreements())
        return self

    def _disagreements(self) -> Iterator[Fault]:
        if isinstance(self.merge, RegmeanMerge):
            yield from self._faults_of_calibration()
        tokenizer = self.merge.tokenizer
        names = [*TOKENIZERS, *(model.short_name for model in self.foundation_models)]
        if tokenizer not in names and "/" not in tokenizer:
            expected = f"expected one of {', '.join(names)}, a hub id or a path"
            yield ("merge", "tokenizer"), f"{expected}, got {tokenizer[:80]!r}"
        if self.merge.skip_if_kinship_above is not None and self.kinship.metric is Metric.EUCLIDEAN:
            what = "distances of near-identical parents are small; use the metric pcc or cosine"
            yield ("merge", "skip_if_kinship_above"), what
        for i, criterion in enumerate(self.stopping):
            if isinstance(criterion, KinshipSaturation) and self.kinship.metric is Metric.EUCLIDEAN:
                what = "a distance does not saturate; use the metric pcc or cosine"
                yield ("stopping", i, criterion.name), what

    def _faults_of_calibration(self) -> Iterator[Fault]:
        if not self.evaluation.split.calibration:
            what = "`evaluation: {split: {held_out: 0.5, calibration: 64}}` sets 64 of each aside"
            yield ("merge", "method"), f"regmean_pp learns from items of the tasks; {what}"
        if self.merge.tokenizer not in {"auto", "copy"}:
            what = "regmean_pp runs the models with the base's tokenizer; use auto, or merge.method"
            yield ("merge", "tokenizer"), f"{what}: wudi"
