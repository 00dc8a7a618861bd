"""Everything that can be known before the first merge: machine, disk, recipe, tasks."""

from __future__ import annotations

from collections.abc import Callable

from evomerge.adapters import machine
from evomerge.breeding import Breeding
from evomerge.config import Config
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding, refuse_problems
from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.execution import operations
from evomerge.execution.evaluation import Evaluation, agreed
from evomerge.planning import advice, first_generation
from evomerge.store.run_directory import RunDirectory
from evomerge.workplace import Setting, Workplace


def check(
    workplace: Workplace, checking: Callable[[str], None], warn: Callable[[Finding], None]
) -> Evaluation:
    """Look at the machine, then ask the workers; the evaluation as all of them describe it.

    Args:
        checking: told what is looked at next.
        warn: told what makes a run worse without making it fail.

    Raises:
        PreflightError: with every problem found.
    """
    config, run, setting = workplace.config, workplace.run, workplace.setting
    checking("devices and disk")
    _check_machine(config, run, warn)
    if not run.exists:
        _check_disk(workplace)
    tasks = ", ".join(task.name for task in config.evaluation.tasks)
    checking(f"the recipe of a merge, with {setting.engine}, and tasks {tasks}, with lm-eval")
    options = config.merge.options
    _, described = workplace.pool.on_each(
        operations.check(_first_recipe(config, setting), options),
        operations.describe(config.evaluation, options),
    )
    return agreed(described)


def _first_recipe(config: Config, setting: Setting) -> Recipe:
    """The recipe of the first merge; much of it can be judged without weights."""
    breeding = Breeding(
        config.merge, config.run.seed, setting.base, setting.foundation, setting.engine
    )
    first = setting.foundation[:2]
    return breeding.of_config([Model(one.name, "foundation", 0, one.content_id) for one in first])


def _check_machine(config: Config, run: RunDirectory, warn: Callable[[Finding], None]) -> None:
    """Devices and the file system of the runs folder; raises PreflightError."""
    findings = [
        *machine.check_devices(machine.devices(config.execution.devices), None),
        machine.check_file_system(run.path.parent),
        *advice(config),
    ]
    for each in findings:
        if each.severity == "warning":
            warn(each)
    refuse_problems(findings)


def _check_disk(workplace: Workplace) -> None:
    """The weights of the first generation must fit; later ones are checked as they come."""
    adapters = sum(
        each.adapter is not None and not workplace.store.holds(f"models/{each.content_id}")
        for each in workplace.setting.foundation
    )
    models = first_generation(workplace.config) + adapters
    if shortage := workplace.resources.shortage(
        models, f"the {models} models that are merged first"
    ):
        raise PreflightError(shortage, "free some space or put the runs folder elsewhere (run.dir)")
