"""Checks before the first merge: machine, disk, recipe, tasks."""

from __future__ import annotations

from collections.abc import Callable

from evomerge.adapters import machine, mergekit
from evomerge.adapters.foundation import Examination
from evomerge.adapters.hub import cache_folder
from evomerge.breeding import Breeding
from evomerge.config import Config
from evomerge.domain.finding import Finding, refuse_problems
from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.execution import operations
from evomerge.execution.evaluation import Evaluation, agreed
from evomerge.planning.advice import advice
from evomerge.planning.projections import first_generation
from evomerge.store.run_directory import RunDirectory
from evomerge.workplace import Workplace


def check(
    workplace: Workplace,
    models: Examination,
    checking: Callable[[str], None],
    warn: Callable[[Finding], None],
) -> Evaluation:
    """Check the machine and the workers; returns the evaluation as the workers describe it.

    Args:
        models: facts about the models that are known without weights.
        checking: called with a description of the next check.
        warn: called with each warning.

    Raises:
        PreflightError: with all problems.
    """
    config, run = workplace.config, workplace.run
    checking("devices and disk")
    _check_machine(config, run, warn)
    if not run.exists:
        _check_disk(config, run, models)
    tasks = ", ".join(task.name for task in config.evaluation.tasks)
    engine = mergekit.engine()
    checking(f"the recipe of a merge, with {engine}, and tasks {tasks}, with lm-eval")
    options = config.merge.options
    _, described = workplace.pool.on_each(
        operations.check(_first_recipe(config, models, engine), options),
        operations.describe(config.evaluation, options),
    )
    return agreed(described)


def _first_recipe(config: Config, models: Examination, engine: str) -> Recipe:
    """A recipe like that of the first merge, which can be checked without weights."""
    base, *foundation = models.provisional()
    breeding = Breeding(config.merge, config.run.seed, base, tuple(foundation), engine)
    first = [Model(one.name, "foundation", 0, one.content_id) for one in foundation[:2]]
    return breeding.of_config(first)


def _check_machine(config: Config, run: RunDirectory, warn: Callable[[Finding], None]) -> None:
    """Check devices and the file system of the runs folder."""
    findings = [
        *machine.check_devices(machine.devices(config.execution.devices), None),
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
