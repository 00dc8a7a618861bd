"""Checks of whether a task can be used, from lm-eval's index and from the loaded task."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from evomerge.adapters.lm_eval.files import TaskFile
from evomerge.adapters.lm_eval.metrics import no_such
from evomerge.config import EvaluationConfig, TaskConfig


def members(name: str, index: Mapping[str, Any]) -> Iterable[str]:
    """`name` and, if it is a group, the names of its members, recursively."""
    yield name
    entry = index.get(name)
    config = (entry.cfg or {}) if entry is not None else {}
    yield from (_members_of(config, index) if "group" in config else sorted(_tagged(entry)))


def _tagged(entry: Any) -> set[str]:
    return set() if entry is None or entry.cfg is not None else set(entry.tags)


def _members_of(config: Mapping[str, Any], index: Mapping[str, Any]) -> Iterable[str]:
    items = config.get("task")
    for item in items if isinstance(items, list) else []:
        name = item if isinstance(item, str) else item.get("group", item.get("task"))
        if isinstance(item, dict) and "group" in item and name not in index:
            yield from _members_of(item, index)
        elif isinstance(item, dict) and "dataset_path" in item and name not in index:
            continue  # a task that is defined inline
        elif isinstance(name, str) and name != config.get("group"):
            yield from members(name, index)


def faults_of_name(key: str, task: str, manager: Any) -> list[str]:
    """Faults of a name, which the config has at `key`, according to lm-eval's index."""
    if task not in manager.all_tasks:
        return [f"{key}: {no_such('task', task, manager.all_tasks, shown=0)}"]
    if task in manager.all_tags:
        names = ", ".join(sorted(manager.task_index[task].tags)[:8])
        return [f"{key}: {task!r} is a tag and has no score; list its tasks: {names}"]
    return []


def faults_of_code(
    key: str,
    task: str,
    config: EvaluationConfig,
    manager: Any,
    files: Mapping[str, TaskFile],
) -> list[str]:
    """Tasks that would run model output or the user's Python code, before they are loaded."""
    if task in config.allow_unsafe:
        return []
    faults = []
    for name in dict.fromkeys(members(task, manager.task_index)):
        entry = manager.task_index.get(name)
        if name in config.allow_unsafe:
            continue
        if entry is not None and (entry.cfg or {}).get("unsafe_code"):
            faults.append(f"task {name!r} executes model output")
        if name in files and files[name].runs_code:
            faults.append(f"task {name!r} runs its own Python code ({files[name].path})")
    return [f"{key}: {fault}; add it to evaluation.allow_unsafe to allow it" for fault in faults]


def faults_of_leaves(
    key: str, task: TaskConfig, leaves: Mapping[str, Any], allowed: Collection[str]
) -> list[str]:
    """Faults of the loaded tasks."""
    faults = []
    for name, leaf in leaves.items():
        if getattr(leaf, "MULTIMODAL", False):
            faults.append(
                f"{key}.name: task {name!r} needs images or audio; models here are text-only"
            )
        if getattr(leaf, "UNSAFE_CODE", False) and not {name, task.name} & {*allowed}:
            faults.append(
                f"{key}.name: task {name!r} executes model output; add it to "
                "evaluation.allow_unsafe to allow it"
            )
        if task.fewshot and leaf.get_config("num_fewshot") == 0:
            faults.append(f"{key}.fewshot: task {name!r} requires 0 examples, not {task.fewshot}")
    return faults


def items_without_answer(task: Any, documents: Iterable[Any]) -> list[int]:
    """The indices of multiple-choice items whose answer is not among their choices.

    lm-eval counts every response to them as wrong. A misspelt column in `doc_to_target` is taken as
    a constant text, which affects all items.
    """
    if task.OUTPUT_TYPE != "multiple_choice" or callable(task.config.process_results):
        return []
    return [position for position, doc in enumerate(documents) if not _has_answer(task, doc)]


def _has_answer(task: Any, document: Any) -> bool:
    choices = task.doc_to_choice(document)
    target = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    targets = target if isinstance(target, list) else [target]
    return any(
        item in choices if isinstance(item, str) else 0 <= item < len(choices) for item in targets
    )
