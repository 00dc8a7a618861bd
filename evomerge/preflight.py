"""Checks before the first merge: machine, disk, recipe, tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evomerge.adapters import machine, mergekit
from evomerge.adapters.foundation import Examination
from evomerge.adapters.hub import Patience, UnreachableError, cache_folder
from evomerge.adapters.hub_errors import Trouble
from evomerge.breeding import Breeding
from evomerge.config import Config
from evomerge.domain.errors import StoppedError
from evomerge.domain.finding import Finding, refuse_problems
from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.execution import operations
from evomerge.execution.evaluation import Evaluation, agreed
from evomerge.planning.advice import advice
from evomerge.planning.projections import first_generation
from evomerge.stopping import budget_of
from evomerge.store.run_directory import RunDirectory
from evomerge.workplace import Workplace


def check(
    workplace: Workplace,
    models: Examination,
    data_sets: Mapping[str, str],
    patience: Patience,
    checking: Callable[[str], None],
    warn: Callable[[Finding], None],
) -> Evaluation:
    """Check the machine and the workers; returns the evaluation as the workers describe it.

    Args:
        models: facts about the models that are known without weights.
        data_sets: the hub commits of data sets that the run began with.
        patience: with a hub that does not give the data sets.
        checking: called with a description of the next check.
        warn: called with each warning.

    Raises:
        PreflightError: with all problems.
        StoppedError: the hub does not give the data sets.
    """
    config, run = workplace.config, workplace.run
    checking("devices and disk")
    _check_machine(config, run, warn)
    limits = budget_of(config.stopping)
    if limits.max_cost is not None and not workplace.gpus:
        what = "max_cost counts GPU-hours, and this run uses no GPU: it is never reached"
        alone = limits.max_hours is None and limits.max_evaluations is None
        remedy = "add `max_hours` or `max_evaluations`" if alone else None
        warn(Finding("warning", "stopping", what, remedy))
    if not run.exists:
        _check_disk(config, run, models)
    tasks = ", ".join(task.name for task in config.evaluation.tasks)
    engine = mergekit.engine()
    checking(f"the recipe of a merge, with {engine}, and tasks {tasks}, with lm-eval")
    options = config.merge.options
    recipe = operations.check(_first_recipe(config, models, engine), options)
    describe = operations.describe(config.evaluation, options, data_sets)
    _, described = workplace.pool.on_each(recipe, describe)
    while met := next((answer for _, answer in described if "trouble" in answer), None):
        _wait(patience, met)
        (described,) = workplace.pool.on_each(describe)
    return agreed(described)


def _wait(patience: Patience, met: Mapping[str, Any]) -> None:
    """Wait until the data set of a task may be asked for again."""
    try:
        patience.wait(Trouble(**met["trouble"]))
    except UnreachableError as error:
        raise StoppedError(
            f"task {met['task']!r}: its data set cannot be fetched, the hub {error}",
            "try again later with the same command",
        ) from None


def _first_recipe(config: Config, models: Examination, engine: str) -> Recipe:
    """A recipe like that of the first merge, which can be checked without weights."""
    base, *foundation = models.provisional()
    breeding = Breeding(config.merge, config.run.seed, base, tuple(foundation), engine)
    first = [Model(one.name, "foundation", 0, one.content_id) for one in foundation[:2]]
    return breeding.of_config(first)


def _check_machine(config: Config, run: RunDirectory, warn: Callable[[Finding], None]) -> None:
    """Check devices and the file system of the runs folder."""
    local = config.execution.executor == "local"
    findings = [
        *(machine.check_devices(machine.devices(config.execution.devices), None) if local else ()),
        machine.check_file_system(run.path.parent),
        *advice(config),
    ]
    for each in findings:
        if each.severity == "warning":
            warn(each)
    refuse_problems(findings)


def _check_disk(config: Config, run: RunDirectory, models: Examination) -> None:
    """Check that downloads and the models of the first generation fit on their file systems."""
    merged = first_generation(config) * models.model_size + models.to_make
    kept = round(config.execution.min_free_disk_gb * 1e9)
    fetched = sum(models.to_fetch.values())
    refuse_problems(
        machine.check_disks(
            [
                (run.store, merged + kept, None, "the models that are merged first"),
                (cache_folder(), fetched, None, "the models to be fetched"),
            ]
        )
    )
