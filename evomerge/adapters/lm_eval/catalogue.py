"""Tasks as their files describe them; lm-eval is not imported and no data are loaded."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from evomerge.adapters.lm_eval.files import TaskFile, read_task_file

_OF_OUTPUT_TYPE = {  # lm-eval's DEFAULT_METRIC_REGISTRY
    "loglikelihood": ("acc",),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
_DEFINED = re.compile(rb"^(?:task|group): *[\"']?([\w.()+:@-]+)[\"']? *(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class TaskFacts:
    """What the file of a task or group says of its scores.

    Attributes:
        metrics: names in the file's order; empty if only loading the task would tell.
        filters: names in the file's order; `none` for a task without filters; empty as above.
    """

    metrics: tuple[str, ...]
    filters: tuple[str, ...]


def facts(file: TaskFile) -> TaskFacts:
    """What a file says; a task in Python code says nothing."""
    config = file.config
    if "class" in config:
        return TaskFacts((), ())
    of_group = "group" in config
    listed = config.get("aggregate_metric_list" if of_group else "metric_list")
    items = listed if isinstance(listed, list) else [listed] if isinstance(listed, dict) else []
    if listed is None and not of_group:
        metrics = _OF_OUTPUT_TYPE.get(str(config.get("output_type")), ())
    else:
        metrics = tuple(str(each["metric"]) for each in items if _is_named(each))
    if any(not _is_named(each) for each in items):
        metrics = ()  # a function, whose results have names of its own
    filters = config.get("filter_list") or ([] if of_group else [{"name": "none"}])
    names = [each.get("name") for each in filters if isinstance(each, dict)]
    return TaskFacts(metrics, tuple(map(str, names)))


def _is_named(item: Any) -> bool:
    """Whether an item of a metric list names a metric, not a `!function`."""
    return isinstance(item, Mapping) and type(item.get("metric")) is str


def task_folder() -> Path:
    """The folder of lm-eval's own task files."""
    found = importlib.util.find_spec("lm_eval")
    places = found.submodule_search_locations if found is not None else None
    return Path((places or ["lm_eval"])[0]) / "tasks"


@cache
def _defined() -> dict[str, tuple[Path, ...]]:
    """lm-eval's own files by the task or group that each defines (0.6 s)."""
    files: dict[str, list[Path]] = {}
    for path in sorted(task_folder().rglob("*.yaml")):
        for name in _DEFINED.findall(path.read_bytes()):
            files.setdefault(name.decode(), []).append(path)
    return {name: tuple(paths) for name, paths in files.items()}


def defining_files(name: str) -> tuple[Path, ...]:
    """lm-eval's own files that define a task or a group of this name."""
    return _defined().get(name, ())


def known_task(name: str) -> TaskFile | None:
    """lm-eval's own task or group; None unless it has just one file, which can be read."""
    files = defining_files(name)
    if len(files) != 1:
        return None
    try:
        return read_task_file(files[0])
    except (yaml.YAMLError, OSError, ValueError):
        return None


def is_unknown(name: str) -> bool:
    """Whether no file of lm-eval's has this name anywhere: as a task, group, tag or member.

    False where lm-eval is not installed.
    """
    if name in _defined() or not _defined():
        return False
    word = re.compile(rb"(?<![\w.-])%b(?![\w.-])" % re.escape(name.encode()))
    return not any(word.search(path.read_bytes()) for path in task_folder().rglob("*.yaml"))


def similar(name: str, further: Iterable[str] = ()) -> list[str]:
    """The names of tasks closest to a misspelt one, at most three."""
    return difflib.get_close_matches(name, [*further, *_defined()], n=3, cutoff=0.6)
