"""The composition root: workers, trackers and the workplace of a config on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from evomerge import preflight
from evomerge.adapters import kinship, machine, mergekit, peft, pickles
from evomerge.adapters.child import Child
from evomerge.adapters.file_checks import FileChecks
from evomerge.adapters.foundation import Examination, Merging, Resolved, examine, fetch_all
from evomerge.adapters.hub import Fetched, Hub, Patience
from evomerge.adapters.lm_eval import worker as lm_eval
from evomerge.adapters.notifying import Notifier, redactor_of, senders_of
from evomerge.adapters.trackers.backends import BACKENDS
from evomerge.adapters.trackers.mirror import Mirror
from evomerge.config import Config, EvaluationConfig, MergeOptions
from evomerge.configfile import config_id, dump
from evomerge.domain.finding import Finding, refuse_problems
from evomerge.domain.model import Foundation
from evomerge.execution import operations
from evomerge.execution.evaluation import Evaluation, agreed
from evomerge.execution.pool import Pool
from evomerge.ports import Observer, Worker
from evomerge.store.atomic import make_folder
from evomerge.store.cache import Cache
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.notices import notice_of, stop_notice
from evomerge.workplace import Setting, Workplace

if TYPE_CHECKING:
    from evomerge.adapters.ray_cluster import Cluster


def _ignore(*_: object) -> None:
    """No-op callback."""


class LocalWorkplace(Workplace):
    """A run with real models; its workers are processes of this machine or of a Ray cluster."""

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        checking: Callable[[str], None] = _ignore,
        warn: Callable[[Finding], None] = _ignore,
        fetched: Fetched = _ignore,
    ) -> None:
        """Workers are started when needed.

        Args:
            checking: called with a description of the next check.
            warn: called with each warning.
            fetched: called with the progress of downloads.
        """
        self._cluster = _cluster(config, run.logs / "ray.log")
        super().__init__(config, run, Pool(self._workers()))
        self._as_given = config
        self._checking = checking
        self._warn = warn
        patience = config.execution.hub_patience_minutes * 60
        self._hub = Hub(patience, run.logs / "hub.log", checking, fetched)

    def _workers(self) -> Iterator[Worker]:
        """The workers, when they are needed; this connects to the cluster, if there is one."""
        if self._cluster is None:
            yield from workers(self._as_given, self.run.logs, Cache(self.run.store / "cache"))
        else:
            yield from ray_workers(self._as_given, self.run.logs, self._cluster)

    @cached_property
    def setting(self) -> Setting:
        """The resolved config; finding and checking the models can take minutes."""
        base, *models = self._resolved
        devices = (
            [str(node) for node in self._cluster.nodes]
            if self._cluster
            else machine.devices(self.config.execution.devices)
        )
        foundation = tuple(each.foundation for each in models)
        versions = machine.versions(foundation)
        return Setting(
            base=base.foundation,
            foundation=foundation,
            folders={
                each.foundation.content_id: peft.weights_of(each, self.store)
                for each in self._resolved
            },
            model_size=max(each.size for each in models),
            engine=mergekit.engine(),
            versions=versions,
            config_id=config_id(self._as_given),
            config=dump(self._as_given),
            environment=machine.environment(devices, versions),
        )

    @cached_property
    def gpus(self) -> int:
        """The GPUs of its evaluation workers, on this machine or the cluster."""
        if self._cluster is None:
            return machine.gpus_of(self._as_given)
        return self._cluster.gpus(self._as_given)

    def check(self) -> Evaluation:
        """Check headers of models, devices, recipe, tasks, metrics and disk, without weights.

        The weights of the largest model are needed only to choose a batch size.
        """
        self._check_nodes(self.config.evaluation.include)
        patience = Patience(self.config.execution.hub_patience_minutes * 60, self._checking)
        data_sets, found = self.started.data_sets if self.started else {}, self._examined
        evaluation = preflight.check(self, found, data_sets, patience, self._checking, self._warn)
        if self._cluster is not None:
            self._check_nodes(self.setting.folders.values())
        if not self.config.evaluation.is_probed:
            return evaluation
        chosen, settings = self._batch_size(), self.config.evaluation
        fixed = settings.model_copy(update={"batch_size": chosen})
        self.config = self.config.model_copy(update={"evaluation": fixed})
        described = operations.describe(fixed, self.config.merge.options, evaluation.data_sets)
        evaluation = agreed(self.pool.on_each(described)[0])
        return evaluation.model_copy(update={"batch_size": chosen})

    def _check_nodes(self, folders: Iterable[Path]) -> None:
        """Check that every node of the cluster, if there is one, can work on this run.

        Raises:
            PreflightError: with all problems.
        """
        if self._cluster is None:
            return
        from evomerge.adapters.ray_cluster import findings

        self._checking("the nodes of the Ray cluster")
        here = [folder for folder in folders if folder.exists()]
        refuse_problems(findings(self._cluster, self._as_given, [self.run.path, *here]))

    def _batch_size(self) -> int:
        """The recorded batch size of the run; else from a probe with its largest model, cached."""
        if self.started is not None and self.started.batch_size is not None:
            return self.started.batch_size
        whole = [each for each in self._resolved if each.foundation.adapter is None]
        largest = max(whole, key=lambda each: each.size)
        self._checking(f"the batch size, with {largest.foundation.name}")
        probe = operations.probe(
            self.config.evaluation, self.config.merge.options, peft.weights_of(largest, self.store)
        )
        chosen: int = self.pool.run(probe)["batch_size"]
        return chosen

    def prepare(self, observer: Observer) -> None:
        """Merge LoRA adapters onto the base model, into the store."""
        with closing(Pool([peft.worker(self.run.logs / "adapters.log")])) as pool:
            peft.merge_adapters(
                self._resolved,
                self.store,
                pool,
                self.resources,
                lambda name: partial(observer.on_progress, name, "merge"),
                self.config.merge.options,
                self.config.execution.timeout_seconds,
            )

    @cached_property
    def _examined(self) -> Examination:
        """The base and the foundation models, read from small files and headers."""
        make_folder(self.store.root)
        found = examine(
            [self.config.base_model, *self.config.foundation_models],
            self.config.merge.options,
            Merging.of(self.config),
            {
                each.source: each.commit
                for each in self._recorded_models()
                if each.commit is not None
            },
            self._hub,
            self._checking,
        )
        found.faults.raise_any()
        for finding in found.warnings:
            self._warn(finding)
        return found

    @cached_property
    def _resolved(self) -> tuple[Resolved, ...]:
        convert = partial(pickles.convert, self.store, self.run.logs / "pickles.log")
        with closing(self._hub) as hub:
            base, *models = fetch_all(
                self._examined,
                self.config.merge.options,
                FileChecks(self.store.root / "digests.json"),
                hub,
                self._checking,
                convert,
            )
        origin = base.foundation.content_id
        return (base, *peft.as_merged_before(models, origin, self._recorded_models(), self.store))

    def close(self) -> None:
        """Stop all workers and downloads."""
        self._hub.close()
        super().close()
        if self._cluster is not None:
            self._cluster.close()

    def _recorded_models(self) -> tuple[Foundation, ...]:
        """The base and foundation models at the start of an existing run; else empty."""
        return (self.started.base, *self.started.foundation) if self.started else ()


def workers(config: Config, logs: Path, cache: Cache | None = None) -> list[Worker]:
    """The workers of a run, not started.

    Args:
        logs: folder for their output.
        cache: for their checks of recipes and descriptions of evaluations.
    """
    execution = config.execution
    return [
        *(
            mergekit.worker(logs / f"merge-{number}.log", cache)
            for number in range(execution.merge_workers)
        ),
        *(
            _scorer(config.evaluation, device, logs / f"score-{number}.log", cache)
            for number, device in enumerate(machine.engines(config))
        ),
        kinship.worker(logs / "kinship.log"),
    ]


def ray_workers(config: Config, logs: Path, cluster: Cluster) -> list[Worker]:
    """The workers of a run on the nodes of a cluster, which begins to make room for them.

    Nothing that they say is cached here: it depends on their node.

    Raises:
        PreflightError: the cluster cannot be reached, or has no room for them.
    """
    from evomerge.adapters.ray_cluster import Share
    from evomerge.adapters.ray_worker import RayWorker

    scoring, merging = cluster.shares(config, cluster.nodes)
    # Kinship is measured while the others are idle, and reserves nothing of its own.
    measuring = Share("kinship", 1, 0.0, 0.0, 0)
    device = "cuda" if scoring.num_gpus else "cpu"
    return [  # first those that need most, so that they find room
        *(
            _scorer(
                config.evaluation,
                device,
                logs / f"score-{number}.log",
                start=partial(RayWorker, cluster, scoring),
            )
            for number in range(scoring.count or 1)
        ),
        *(
            mergekit.worker(
                logs / f"merge-{number}.log", start=partial(RayWorker, cluster, merging)
            )
            for number in range(merging.count or 1)
        ),
        kinship.worker(logs / "kinship.log", start=partial(RayWorker, cluster, measuring)),
    ]


def _cluster(config: Config, log: Path | None = None) -> Cluster | None:
    """The Ray cluster of a config, not connected; None if it runs on this machine alone."""
    if config.execution.executor != "ray":
        return None
    from evomerge.adapters.ray_cluster import Cluster

    return Cluster(config.execution, log)


def _scorer(
    evaluation: EvaluationConfig,
    device: str,
    log: Path,
    cache: Cache | None = None,
    start: Callable[..., Worker] = Child,
) -> Worker:
    invariant = evaluation.batch_invariant
    return lm_eval.worker(evaluation.backend, device, log, cache, start, batch_invariant=invariant)


def described(
    evaluation: EvaluationConfig, options: MergeOptions | None = None, examples: int = 0
) -> Evaluation:
    """An evaluation as lm-eval describes it on the CPU.

    Args:
        options: default: those of a config that sets none.
        examples: number of each task's items to be shown.

    Raises:
        PreflightError, CandidateError: a task, metric or filter is invalid.
    """
    operation = operations.describe(evaluation, options or MergeOptions(), examples=examples)
    with tempfile.TemporaryDirectory() as logs:
        scorer = _scorer(evaluation, "cpu", Path(logs) / "tasks.log")
        with closing(Pool([scorer])) as pool:
            return agreed(pool.on_each(operation)[0])


def notifiers_of(
    config: Config, run: RunDirectory, warn: Callable[[str], None]
) -> tuple[Notifier, ...]:
    """The observer that `notify` asks for."""
    if config.notify is None:
        return ()
    senders = senders_of(config.notify, os.environ, warn)
    return (
        Notifier(
            senders,
            config.notify.events,
            notice_of,
            lambda state, why: stop_notice(run.name, state, why, run.command("resume")),
            redactor_of(config.notify, os.environ),
            warn,
        ),
    )


def mirrors_of(
    config: Config, run: RunDirectory, warn: Callable[[str], None]
) -> tuple[Mirror, ...]:
    """The trackers in `tracking`."""
    return tuple(
        Mirror(name, partial(BACKENDS[name], run.path), run.journal, warn)
        for name in dict.fromkeys(config.tracking)
    )
