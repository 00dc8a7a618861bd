"""The environment of a run: what a config resolves to on this machine, and its executor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evomerge.config import Config
from evomerge.domain.events import RunStarted
from evomerge.domain.model import Foundation, Model
from evomerge.execution import operations
from evomerge.execution.calibration import anchor_text
from evomerge.execution.evaluation import Evaluation
from evomerge.execution.executor import StoreExecutor
from evomerge.execution.pool import Pool
from evomerge.execution.resources import Resources
from evomerge.execution.weights import Weights
from evomerge.ports import Executor, Observer, Operation
from evomerge.store.artefacts import Store
from evomerge.store.gc_roots import NeededElsewhere
from evomerge.store.run_directory import RunDirectory


@dataclass(frozen=True)
class Setting:
    """A config resolved at a workplace.

    Attributes:
        base: the base model, pinned and checked, as are the foundation models.
        folders: weights of the base and the foundation models, by content id.
        model_size: maximum bytes of the weights of an offspring.
        engine: name and version of what executes recipes; part of recipe ids.
        versions: versions of libraries that determine results.
        config: the resolved config as YAML.
        environment: versions and hardware, for the record.
    """

    base: Foundation
    foundation: tuple[Foundation, ...]
    folders: Mapping[str, Path]
    model_size: int
    engine: str
    versions: dict[str, str]
    config_id: str
    config: str
    environment: dict[str, object]


class Workplace(ABC):
    """A run with its config, pool of workers and store."""

    def __init__(self, config: Config, run: RunDirectory, pool: Pool) -> None:
        self.config = config
        self.run = run
        self.pool = pool
        self.store = Store(run.store)
        self.started: RunStarted | None = None
        """The first event of an existing run; set by whoever read its journal."""

    @property
    def gpus(self) -> int:
        """The number of GPUs in use; default: none."""
        return 0

    @property
    @abstractmethod
    def setting(self) -> Setting:
        """The resolved config; models are found, pinned and checked on first access.

        Raises:
            PreflightError: with all unusable models.
        """

    @abstractmethod
    def check(self) -> Evaluation:
        """Run all checks before the first merge; returns the evaluation.

        Raises:
            PreflightError: with all problems.
        """

    @abstractmethod
    def prepare(self, observer: Observer) -> None:
        """Make the foundation models available in the folders of `setting`.

        Raises:
            PreflightError, StoppedError: a foundation model cannot be prepared.
        """

    @property
    def resources(self) -> Resources:
        """The limits of disk and memory."""
        return Resources.of(self.config.execution, self.store.root, self.setting.model_size)

    def weights(
        self, known: Iterable[Model], observer: Observer, data_sets: Mapping[str, str]
    ) -> Weights:
        """The weights of a run's models; those of `known` models are merged again if missing.

        Args:
            data_sets: the hub commits of the tasks' data sets, by name.

        Raises:
            PreflightError, StoppedError: a foundation model cannot be prepared.
        """
        self.prepare(observer)
        weights = Weights(
            self.config,
            self.store,
            self.setting.folders,
            self.pool,
            self.resources,
            observer,
            NeededElsewhere(self.run),
            partial(self._calibrate, data_sets),
        )
        weights.remember(known)
        return weights

    def executor(
        self, evaluation: Evaluation, known: Iterable[Model], observer: Observer
    ) -> Executor:
        """The executor of the run; `known` are its models so far.

        Raises:
            PreflightError, StoppedError: a foundation model cannot be prepared.
        """
        weights = self.weights(known, observer, evaluation.data_sets)
        base = self.setting.base.content_id
        return StoreExecutor(self.config, evaluation, base, weights, self.pool, observer)

    def _calibrate(self, data_sets: Mapping[str, str], into: Path) -> Operation:
        """The operation that writes what merges learn from."""
        config, setting = self.config, self.setting
        return operations.calibrate(
            config.evaluation,
            config.merge.options,
            anchor_text(config.merge),
            setting.folders[setting.base.content_id],
            into,
            config.execution.timeout_seconds,
            data_sets,
        )

    def close(self) -> None:
        """Stop all workers."""
        self.pool.close()
