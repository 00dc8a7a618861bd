"""The environment of a run: what a config resolves to on this machine, and its executor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evomerge.config import Config
from evomerge.domain.model import Foundation, Model
from evomerge.execution.evaluation import Evaluation
from evomerge.execution.executor import StoreExecutor
from evomerge.execution.pool import Pool
from evomerge.execution.resources import Resources
from evomerge.execution.weights import Weights
from evomerge.ports import Executor, Observer
from evomerge.store.artefacts import Store
from evomerge.store.gc_roots import needed_weights, states_of
from evomerge.store.run_directory import RunDirectory


@dataclass(frozen=True)
class Setting:
    """What a config means at a workplace.

    Attributes:
        base: pinned and checked, like the foundation models.
        folders: where the weights of the base and the foundation models are, by content id.
        model_size: bytes of the weights of an offspring, at most.
        engine: what executes recipes, with its version; part of every recipe's id.
        versions: of what determines results.
        config: the resolved config as YAML.
        environment: versions and hardware, to record with a new run.
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
    """A run, its config, and the pool of workers and the store that it is worked on with."""

    def __init__(self, config: Config, run: RunDirectory, pool: Pool) -> None:
        self.config = config
        self.run = run
        self.pool = pool
        self.store = Store(run.store)

    @property
    @abstractmethod
    def setting(self) -> Setting:
        """Models are found, pinned and checked when it is asked for.

        Raises:
            PreflightError: names every model that cannot be used.
        """

    @abstractmethod
    def check(self) -> Evaluation:
        """Everything that can be known before the first merge; the evaluation.

        Raises:
            PreflightError: with every problem found.
        """

    @abstractmethod
    def prepare(self, observer: Observer) -> None:
        """Have the foundation models lie where `setting` says.

        Raises:
            PreflightError, StoppedError: one of them cannot be prepared.
        """

    @property
    def resources(self) -> Resources:
        """What merges leave free."""
        return Resources.of(self.config.execution, self.store.root, self.setting.model_size)

    def weights(self, known: Iterable[Model], observer: Observer) -> Weights:
        """The weights of a run's models; whatever was lost of those `known` is made again.

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
            lambda: needed_weights(states_of(self.run.path.parent, self.run.path)),
        )
        weights.remember(known)
        return weights

    def executor(
        self, evaluation: Evaluation, known: Iterable[Model], observer: Observer
    ) -> Executor:
        """Who does the work of generations; `known` are the models that the run has so far.

        Raises:
            PreflightError, StoppedError: a foundation model cannot be prepared.
        """
        weights = self.weights(known, observer)
        base = self.setting.base.content_id
        return StoreExecutor(self.config, evaluation, base, weights, self.pool, observer)

    def close(self) -> None:
        """End every process that was started."""
        self.pool.close()
