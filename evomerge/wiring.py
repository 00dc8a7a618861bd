"""The only place where a config becomes objects; heavy parts are made when they are asked for."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from evomerge import __version__
from evomerge.adapters import machine
from evomerge.adapters.attempts import Limits
from evomerge.adapters.foundation import Merging, Resolved, examine, resolve_all, summary
from evomerge.adapters.kinship import StreamedKinship
from evomerge.adapters.lm_eval.evaluator import LmEvalEvaluator
from evomerge.adapters.local import LocalExecutor, close_all
from evomerge.adapters.mergekit import MergekitMerger
from evomerge.adapters.peft import AdapterMerger, as_merged_before, merge_adapters, weights_of
from evomerge.adapters.room import Room
from evomerge.adapters.trackers import BACKENDS, Mirror
from evomerge.breeding import Breeding
from evomerge.config import Config
from evomerge.config.texts import spread
from evomerge.configfile import config_id, dump
from evomerge.domain.difference import Gains
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding, refuse_problems
from evomerge.domain.model import Foundation, Model
from evomerge.domain.recipe import Recipe
from evomerge.domain.state import RunState, fold
from evomerge.gains import gains_of_best
from evomerge.planning import advice, first_generation
from evomerge.ports import Observer
from evomerge.store.artefacts import Store
from evomerge.store.atomic import make_folder
from evomerge.store.cache import Cache
from evomerge.store.census import needed_weights, states_of
from evomerge.store.run_directory import STORE_FOLDER, RunDirectory

_GPUS = Path("/proc/driver/nvidia/gpus")


def _ignore(told: object) -> None:
    """Nobody wants to know."""


class LocalWorkplace:
    """A config on this machine: real models, mergekit, lm-eval, kinship from weights."""

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        checking: Callable[[str], None] = _ignore,
        warn: Callable[[Finding], None] = _ignore,
    ) -> None:
        self._config = config
        self._checking = checking
        self._warn = warn
        self._run = run
        self._store = Store(run.path.parent / STORE_FOLDER)
        self._cache = Cache(self._store.root / "answers")

    @property
    def engine(self) -> str:
        """`mergekit` and its version."""
        return self._mergers[0].engine

    def foundation(self) -> tuple[Foundation, tuple[Foundation, ...]]:
        """The base and the foundation models, pinned and checked against each other."""
        base, *models = (resolved.foundation for resolved in self._resolved)
        return base, tuple(models)

    def versions(self) -> dict[str, str]:
        """Installed versions of what determines results, without importing any of it.

        peft's is that which merged the adapters, where there are any.
        """
        versions = {n: machine.installed(n) or "not installed" for n in machine.LIBRARIES}
        engines = {e.foundation.adapter.engine for e in self._resolved if e.foundation.adapter}
        peft = ", ".join(sorted(engine.partition(" ")[2] for engine in engines))
        return {**versions, "peft": peft} if peft else versions

    def check(self) -> str:
        """Disk, recipe, tasks and metrics, while the children start up; gives the evaluation id."""
        self._checking("devices and disk")
        self._check_machine()
        self._check_disk()
        recipe = self._first_recipe()
        if not self._mergers[0].is_checked(recipe):
            self._mergers[0].start()
        for evaluator in self._evaluators:
            if not evaluator.is_described:
                evaluator.start()
        self._checking(f"the recipe of a merge, with {self.engine}")
        self._mergers[0].check(recipe)
        tasks = ", ".join(task.name for task in self._config.evaluation.tasks)
        self._checking(f"tasks {tasks}, with lm-eval")
        return next(iter({evaluator.evaluation_id for evaluator in self._evaluators}))

    def executor(self, observer: Observer) -> LocalExecutor:
        """Merges, scores and measures on this machine; adapters are merged now, if need be."""
        execution = self._config.execution
        self._merge_adapters(observer)
        return LocalExecutor(
            store=self._store,
            mergers=self._mergers,
            evaluators=self._evaluators,
            meter=self._meter,
            folders={
                each.foundation.content_id: weights_of(each, self._store) for each in self._resolved
            },
            limits=Limits(execution.attempts, execution.max_failures, execution.merges_ahead),
            observer=observer,
            room=self._room,
            needed_elsewhere=lambda: needed_weights(
                states_of(self._run.path.parent, self._run.path)
            ),
            warm_up=self._start_children,
        )

    def test_gains(self, state: RunState) -> Gains | None:
        """From the per-item results in the store."""
        filters = {task.name: task.filter for task in self._config.evaluation.tasks}
        return gains_of_best(state, self._store, filters)

    def _start_children(self) -> None:
        """Let the children import while the first work is being prepared."""
        self._mergers[0].start()
        for evaluator in self._evaluators:
            evaluator.start()

    def describe(self) -> tuple[str, str, dict[str, Any]]:
        """The config's id, the config as YAML, versions and hardware."""
        environment = {
            "evomerge": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "devices": list(self.devices),
            "versions": self.versions(),
        }
        return config_id(self._config), dump(self._config), environment

    def close(self) -> None:
        """End every child process."""
        made = self.__dict__
        meter = [made["_meter"]] if "_meter" in made else []
        close_all([*made.get("_mergers", ()), *made.get("_evaluators", ()), *meter])

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """One device per evaluator; `auto` is every visible GPU, or the CPU."""
        return evaluation_devices(self._config)

    def _merge_adapters(self, observer: Observer) -> None:
        """Have every adapter in the store as the whole model that it stands for."""
        log = self._log("adapters")
        with closing(AdapterMerger(self._config.merge.options, log, self._timeout)) as merger:
            merge_adapters(
                self._resolved,
                self._store,
                merger,
                self._room,
                lambda name: partial(observer.progressed, name, "merge"),
            )

    @cached_property
    def _room(self) -> Room:
        execution = self._config.execution
        return Room(
            self._store.root,
            model_size=max(each.size for each in self._resolved[1:]),
            min_free_disk=round(execution.min_free_disk_gb * 1e9),
            min_free_memory=round(execution.min_free_memory_gb * 1e9),
        )

    @cached_property
    def _resolved(self) -> tuple[Resolved, ...]:
        make_folder(self._store.root)
        base, *models = resolve_all(
            self._config.base_model,
            self._config.foundation_models,
            self._config.merge.options,
            self._store.root / "digests.json",
            self._checking,
            merging=_merging(self._config),
            pins=self._pins,
            warn=self._warn,
        )
        origin = base.foundation.content_id
        return (base, *as_merged_before(models, origin, self._began_with, self._store))

    @cached_property
    def _began_with(self) -> tuple[Foundation, ...]:
        """The base and the foundation models of a run that began before."""
        if not self._run.exists:
            return ()
        start = fold(self._run.read()).start
        return (start.base, *start.foundation)

    @property
    def _pins(self) -> dict[str, str]:
        """The commits that the run began with, by the config's name of a model."""
        return {each.source: each.commit for each in self._began_with if each.commit is not None}

    @cached_property
    def _mergers(self) -> tuple[MergekitMerger, ...]:
        return tuple(
            MergekitMerger(
                self._config.merge.options,
                self._log(f"merge-{number}"),
                timeout=self._timeout,
                cache=self._cache,
            )
            for number in range(self._config.execution.merge_workers)
        )

    @cached_property
    def _evaluators(self) -> tuple[LmEvalEvaluator, ...]:
        return tuple(
            LmEvalEvaluator(
                self._config.evaluation,
                device,
                self._log(f"score-{number}"),
                self._timeout,
                trust_remote_code=self._config.merge.options.trust_remote_code,
                allow_pickle=self._config.merge.options.allow_pickle,
                cache=self._cache,
            )
            for number, device in enumerate(self.devices)
        )

    @cached_property
    def _meter(self) -> StreamedKinship:
        base = self._resolved[0]
        return StreamedKinship(
            base.foundation,
            base.path,
            self._store.root / "kinship" / base.foundation.content_id,
            self._config.kinship.exclude,
            self._log("kinship"),
        )

    @property
    def _timeout(self) -> float | None:
        minutes = self._config.execution.timeout_minutes
        return None if minutes is None else minutes * 60

    def _log(self, name: str) -> Path:
        make_folder(self._run.logs)
        return self._run.logs / f"{name}.log"

    def _first_recipe(self) -> Recipe:
        """The recipe of the first merge; much of it can be judged without weights."""
        base, foundation = self.foundation()
        breeding = Breeding(
            self._config.merge, self._config.run.seed, base, foundation, self.engine
        )
        parents = [Model(each.name, "foundation", 0, each.content_id) for each in foundation[:2]]
        return breeding.of_config(parents)

    def _check_machine(self) -> None:
        """Devices and the file system of the runs folder; raises PreflightError."""
        findings = [
            *machine.check_devices(self.devices, None),
            machine.check_file_system(self._run.path.parent),
            *advice(self._config),
        ]
        for each in findings:
            if each.grade == "warning":
                self._warn(each)
        refuse_problems(findings)

    def _check_disk(self) -> None:
        """The weights of the first generation must fit; later ones are checked as they come."""
        if self._run.exists:
            return
        adapters = sum(
            each.foundation.adapter is not None
            and not self._store.holds(f"models/{each.foundation.content_id}")
            for each in self._resolved[1:]
        )
        models = first_generation(self._config) + adapters
        if shortage := self._room.shortage(models, f"the {models} models that are merged first"):
            raise PreflightError(
                shortage, "free some space or put the runs folder elsewhere (run.dir)"
            )


def examined(config: Config) -> list[Finding]:
    """What the models of a config look like beside each other; no weight is downloaded."""
    found = examine(
        [config.base_model, *config.foundation_models], config.merge.options, _merging(config), {}
    )
    together = summary(found)
    told = [*found.faults.findings(), *found.warnings, *found.adapters]
    return [*told, *([together] if together else [])]


def _merging(config: Config) -> Merging:
    return Merging(
        tokenizer=config.merge.tokenizer,
        dtype=config.merge.dtype,
        chat_template=config.evaluation.chat_template,
        template=config.merge.chat_template is not None,
    )


def evaluation_devices(config: Config) -> tuple[str, ...]:
    """One device per evaluation worker; `auto` is every visible GPU, or the CPU."""
    configured = config.execution.devices
    return _visible_gpus() or ("cpu",) if configured == ("auto",) else spread(configured)


def _visible_gpus() -> tuple[str, ...]:
    """`cuda:0`, `cuda:1`, …: as torch will number them, told without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([each for each in re.split(r"\s*,\s*", visible.strip()) if each])
    else:
        count = len(list(_GPUS.iterdir())) if _GPUS.is_dir() else 0
    return tuple(f"cuda:{number}" for number in range(count))


def mirrors_of(
    config: Config, run: RunDirectory, warn: Callable[[str], None]
) -> tuple[Mirror, ...]:
    """The trackers that `tracking` names."""
    return tuple(
        Mirror(name, partial(BACKENDS[name], run.path), run.journal, warn)
        for name in dict.fromkeys(config.tracking)
    )
