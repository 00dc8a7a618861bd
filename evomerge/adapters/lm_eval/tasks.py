"""Loads the configured tasks once, with everything that can be known to fail known at once.

The order matters: the include folders are read as text first, then lm-eval's index, then tasks are
loaded one by one, and only those whose code the config allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lm_eval.tasks import TaskManager

from evomerge.adapters.lm_eval.data import data_beside_yaml, memoized_documents
from evomerge.adapters.lm_eval.files import read_task_files
from evomerge.adapters.lm_eval.guards import (
    faults_of_code,
    faults_of_leaves,
    faults_of_name,
    items_without_answer,
    members,
)
from evomerge.adapters.lm_eval.metrics import check_metric, one_line
from evomerge.adapters.lm_eval.requests import RequestsOnce
from evomerge.config import EvaluationConfig, TaskConfig
from evomerge.domain.errors import PreflightError

_UNREACHABLE = {
    "ConnectionError",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ConnectError",
}


@dataclass(frozen=True)
class Entry:
    """One item of `evaluation.tasks`, loaded.

    Attributes:
        key: its place in the config, as `evaluation.tasks.1`.
        loaded: lm-eval's `tasks`, `groups` and `group_map` of this name.
        result_key: lm-eval's key of the metric that counts, as `exact_match,strict-match`.
    """

    key: str
    config: TaskConfig
    loaded: Mapping[str, Any]
    result_key: str

    @property
    def leaves(self) -> dict[str, Any]:
        """The tasks with items of their own: itself, or the members of the group."""
        return dict(self.loaded["tasks"])


class Suite:
    """The loaded tasks of an evaluation, reused for every model.

    Attributes:
        samples: the items of each limited task, by position; a task that is not in it is scored
            on all of its items. A range: lm-eval asks it `in` for every item.
        requests: each task's request building.
        warnings: sentences about items that cannot be answered right.
    """

    def __init__(self, config: EvaluationConfig, entries: tuple[Entry, ...]) -> None:
        self.config = config
        self.entries = entries
        self.samples: dict[str, range] = {}
        self.requests: dict[str, RequestsOnce] = {}
        self.warnings: list[str] = []
        for entry in entries:
            for name, task in entry.leaves.items():
                memoized_documents(task, config.seed)
                if entry.config.limit is not None:
                    count = min(entry.config.limit, len(task.eval_docs))
                    self.samples[name] = range(count)
                self.requests[name] = RequestsOnce(task, config.seed)

    @property
    def tasks(self) -> dict[str, Any]:
        """Every task with items, by name, in the order of the config."""
        return {name: task for entry in self.entries for name, task in entry.leaves.items()}

    @property
    def task_dict(self) -> dict[str, Any]:
        """lm-eval's `TaskDict` of all entries."""
        groups: dict[str, Any] = {}
        for entry in self.entries:
            groups |= entry.loaded["groups"]
        members = {name: group.child_names for name, group in groups.items()}
        return {"tasks": self.tasks, "groups": groups, "group_map": members}

    def documents(self, name: str) -> list[Any]:
        """The items of task `name` that are scored, in their order."""
        docs = self.tasks[name].eval_docs
        return [docs[index] for index in self.samples.get(name, range(len(docs)))]


def load_suite(config: EvaluationConfig) -> Suite:
    """Load and check every task.

    Raises:
        PreflightError: one line for each problem, each naming its key of the config.
    """
    files = read_task_files(config.include)
    problems = list(files.problems)
    manager = _manager(config)
    entries: list[Entry] = []
    for number, task in enumerate(config.tasks):
        key = f"evaluation.tasks.{number}"
        faults = faults_of_name(key, task, manager)
        faults += [] if faults else faults_of_code(key, task, config, manager, files.by_name)
        if faults:
            problems += faults
            continue
        loaded = _load(key, task, manager, problems)
        if loaded is not None:
            entries += _entry(key, task, loaded, config, problems)
    problems += _overlaps(entries)
    if problems:
        raise PreflightError("\n".join(problems))
    suite = Suite(config, tuple(entries))
    _check_items(suite)
    return suite


def _manager(config: EvaluationConfig) -> Any:
    """lm-eval's index; its own 14,000 names (seconds) only where the includes do not suffice."""
    folders = [str(folder) for folder in config.include]
    if folders:
        manager = TaskManager(include_path=folders, include_defaults=False)
        index = manager.task_index
        wanted = [name for task in config.tasks for name in members(task.name, index)]
        if all(name in index for name in wanted):
            return manager
    return TaskManager(include_path=folders or None, include_defaults=True)


def _load(key: str, task: TaskConfig, manager: Any, problems: list[str]) -> Any:
    try:
        with data_beside_yaml():
            return manager.load([task.name])
    except Exception as error:  # task code and data loaders raise anything
        problems.append(f"{key}.name: task {task.name!r} cannot be loaded: {_explained(error)}")
        return None


def _explained(error: BaseException) -> str:
    text = one_line(error)
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in _UNREACHABLE:
            return (
                f"its data are not on this machine and the hub cannot be reached ({text}); "
                "fetch them once where there is a network, or set HF_HOME to where they are"
            )
        cause = cause.__cause__ or cause.__context__
    return text


def _entry(
    key: str, task: TaskConfig, loaded: Any, config: EvaluationConfig, problems: list[str]
) -> list[Entry]:
    """The entry, or none and why not."""
    faults = faults_of_leaves(key, task, loaded["tasks"], config.allow_unsafe)
    result_key, wrong = check_metric(key, task, loaded)
    problems += faults + wrong
    if faults or wrong:
        return []
    for leaf in loaded["tasks"].values():
        own = leaf.get_config("num_fewshot") or 0
        leaf.set_config(key="num_fewshot", value=own if task.fewshot is None else task.fewshot)
    return [Entry(key, task, loaded, result_key)]


def _overlaps(entries: Iterable[Entry]) -> list[str]:
    seen: dict[str, Entry] = {}
    problems = []
    for entry in entries:
        for name in entry.leaves:
            other = seen.setdefault(name, entry)
            if other is not entry:
                problems.append(
                    f"{entry.key}.name: task {name!r} is already scored as part of "
                    f"{other.config.name!r}"
                )
    return problems


def _check_items(suite: Suite) -> None:
    """Look at every item before the first merge: its answer, and its prompts.

    With a chat template the prompts depend on the model's tokenizer and are built later.
    """
    problems = []
    for entry in suite.entries:
        for name, task in entry.leaves.items():
            try:
                wrong = items_without_answer(task, suite.documents(name))
                if not suite.config.chat_template:
                    task.build_all_requests(
                        samples=suite.samples.get(name),
                        system_instruction=suite.config.system_instruction,
                    )
            except Exception as error:  # templates and task code raise anything
                problems.append(
                    f"{entry.key}: the prompts of task {name!r} cannot be built: {one_line(error)}"
                )
                continue
            items = len(suite.documents(name))
            text = f"{len(wrong)} of {items} items have an answer that is none of their choices"
            if len(wrong) == items:
                problems.append(f"{entry.key}: task {name!r}: {text}; see its doc_to_target")
            elif wrong:
                suite.warnings.append(f"task {name!r}: {text} (the first is item {wrong[0]})")
    if problems:
        raise PreflightError("\n".join(problems))
