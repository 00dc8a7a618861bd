"""What a config names that is not there: folders, files, tasks, metrics, filters.

Nothing is imported, downloaded or read but task files, so that not all can be told: not a hub id,
nor a metric that a task computes by code. `doctor` and the beginning of a run look at everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evomerge.adapters.foundation.lora import ADAPTER_CONFIG
from evomerge.adapters.foundation.source import CONFIG, nearest
from evomerge.adapters.lm_eval.catalogue import facts, is_unknown, known_task, similar
from evomerge.adapters.lm_eval.files import TaskFiles, read_task_files
from evomerge.adapters.lm_eval.metrics import no_such
from evomerge.config import Config, ModelConfig, RegmeanMerge, TaskConfig

Missing = tuple[str, str, str | None]
"""The key of the config, what is wrong, and a remedy."""


def missing(config: Config) -> Iterator[Missing]:
    """What a config names that is not there, as far as that can be told at once."""
    yield from _of_model("base_model", config.base_model)
    for number, model in enumerate(config.foundation_models):
        yield from _of_model(f"foundation_models.{number}", model)
    guard, merge = config.evaluation.guard, config.merge
    if guard is not None and guard.path is not None:
        yield from _of_file("evaluation.guard.text", guard.path)
    if isinstance(merge, RegmeanMerge) and merge.parameters.anchor not in {"default", "none"}:
        yield from _of_file("merge.parameters.anchor", Path(merge.parameters.anchor))
    yield from _of_tasks(config)


def _of_model(key: str, model: ModelConfig) -> Iterator[Missing]:
    path = Path(model.model).expanduser()
    if model.repo is None and not path.is_dir():
        yield key, f"there is no folder {model.model}", nearest(path)
    elif path.is_dir() and not any((path / name).is_file() for name in (CONFIG, ADAPTER_CONFIG)):
        yield key, f"{model.model} is no model folder: it has no {CONFIG}", None


def _of_file(key: str, path: Path) -> Iterator[Missing]:
    if not path.expanduser().is_file():
        yield key, f"there is no file {path}", None


def _of_tasks(config: Config) -> Iterator[Missing]:
    own = read_task_files([path.expanduser() for path in config.evaluation.include])
    for problem in own.problems:
        key, _, message = problem.partition(": ")
        yield key, message, None
    for key, task in config.evaluation.every_task.items():
        yield from _of_task(key, task, own)
    guard = config.evaluation.guard
    if guard is not None and guard.task is not None and guard.task not in own.by_name:
        yield from _unknown("evaluation.guard.text", guard.task, own)


def _unknown(key: str, name: str, own: TaskFiles) -> Iterator[Missing]:
    if is_unknown(name):
        near = " or ".join(similar(name, own.by_name))
        yield key, f"there is no task {name!r}", f"did you mean {near}?" if near else None


def _of_task(key: str, task: TaskConfig, own: TaskFiles) -> Iterator[Missing]:
    file = own.by_name.get(task.name) or known_task(task.name)
    if file is None:
        yield from _unknown(f"{key}.name", task.name, own)
        return
    told = facts(file)
    if told.metrics and task.metric not in told.metrics:
        fault = no_such("metric", task.metric, told.metrics)
        yield f"{key}.metric", f"task {task.name!r}: {fault}", None
    if not told.filters:
        return
    if task.filter is None and len(told.filters) > 1:
        choices = ", ".join(told.filters)
        yield f"{key}.filter", f"task {task.name!r} has several; choose one of {choices}", None
    elif task.filter is not None and task.filter not in told.filters:
        fault = no_such("filter", task.filter, told.filters)
        yield f"{key}.filter", f"task {task.name!r}: {fault}", None
