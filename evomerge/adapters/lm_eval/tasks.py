"""Loads the configured tasks once and reports all faults at once.

The order matters: the include folders are read as text first, then lm-eval's index, then tasks are
loaded one by one, and only those whose code the config allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lm_eval.tasks import TaskManager

from evomerge.adapters.hub_errors import Trouble, known_refusal, trouble
from evomerge.adapters.lm_eval.catalogue import defining_files
from evomerge.adapters.lm_eval.data import DataSets
from evomerge.adapters.lm_eval.files import read_task_files
from evomerge.adapters.lm_eval.guards import (
    faults_of_code,
    faults_of_leaves,
    faults_of_name,
    items_without_answer,
    members,
)
from evomerge.adapters.lm_eval.metrics import check_metric, one_line
from evomerge.adapters.lm_eval.perplexity import (
    PACKAGED_TEXT,
    GuardText,
    read_text,
    text_of_task,
)
from evomerge.adapters.lm_eval.plain_words import reason, unusable_fields
from evomerge.adapters.lm_eval.suite import LoadedTask, Part, Suite, suites
from evomerge.config import EvaluationConfig, TaskConfig
from evomerge.domain.errors import PreflightError
from evomerge.domain.scores import EvaluationWarning


def load_suites(config: EvaluationConfig, data_sets: DataSets) -> dict[Part, Suite]:
    """Load and check every task; returns the suite of each part of the evaluation.

    Raises:
        PreflightError: one line for each problem, each naming its key in the config.
    """
    files = read_task_files(config.include)
    problems = list(files.problems)
    manager = _manager(config)
    entries: list[LoadedTask] = []

    def load(key: str, name: str) -> Any:
        faults = faults_of_name(key, name, manager)
        faults += [] if faults else faults_of_code(key, name, config, manager, files.by_name)
        problems.extend(faults)
        own = files.by_name[name].config if name in files.by_name else {}
        return None if faults else _load(key, name, own, manager, data_sets, problems)

    for key, task in config.every_task.items():
        loaded = load(f"{key}.name", task.name)
        if loaded is not None:
            entries += _entry(key, task, loaded, config, problems)
    problems += _overlaps(entries)
    guard = _guard(config, load, problems)
    if problems:
        raise PreflightError("\n".join(problems))
    found = suites(config, entries, guard)
    for suite in found.values():
        _check_items(suite)
    return found


def _guard(
    config: EvaluationConfig, load: Callable[[str, str], Any], problems: list[str]
) -> GuardText | None:
    """The guard's text; None for no guard, or if a problem was added."""
    guard, key = config.guard, "evaluation.guard.text"
    if guard is None:
        return None
    try:
        if guard.task is None:
            return read_text(guard.path or PACKAGED_TEXT)
        loaded = load(key, guard.task)
        return None if loaded is None else text_of_task(guard.task, loaded["tasks"].values())
    except ValueError as error:
        problems.append(f"{key}: {error}")
    except Exception as error:  # templates and task code can raise anything
        problems.append(f"{key}: the texts of {guard.task!r} cannot be read: {one_line(error)}")
    return None


def _manager(config: EvaluationConfig) -> Any:
    """lm-eval's index; its own 14,000 names (20 s) only where a few folders do not suffice."""
    folders = [str(folder) for folder in config.include]
    names = [task.name for task in config.every_task.values()]
    names += [config.guard.task] if config.guard and config.guard.task else []
    known: Mapping[str, Any] = {}
    if folders:
        manager = TaskManager(include_path=folders, include_defaults=False)
        known = manager.task_index
        if all(name in known for each in names for name in members(each, known)):
            return manager
    if few := _folders_of_own([name for name in names if name not in known]):
        manager = TaskManager(include_path=[*few, *folders], include_defaults=False)
        index = manager.task_index
        if all(name in index for each in names for name in members(each, index)):
            return manager
    return TaskManager(include_path=folders or None, include_defaults=True)


def _folders_of_own(names: Iterable[str]) -> list[str]:
    """The folders of lm-eval with the files of these tasks; none unless each has just one file.

    Groups and tags, whose members may be anywhere, have none.
    """
    files = [defining_files(name) for name in names]
    if any(len(found) != 1 for found in files):
        return []
    return sorted({str(found[0].parent) for found in files})


class DataSetTroubleError(Exception):
    """The hub does not give the data set of a task now; it may later."""

    def __init__(self, task: str, met: Trouble) -> None:
        super().__init__(f"task {task!r}: the hub {met.text}")
        self.task = task
        self.met = met


def _load(
    key: str,
    task: str,
    own: Mapping[str, Any],
    manager: Any,
    data_sets: DataSets,
    problems: list[str],
) -> Any:
    """The loaded task; None if a problem was added. `own` has the keys of the user's task file."""
    try:
        with data_sets.used():
            loaded = manager.load([task])
    except Exception as error:  # task code and data loaders can raise anything
        cause: Exception = error
        if trouble(error) or type(error).__name__ == "DatasetNotFoundError":
            cause = data_sets.asked_again() or error  # datasets loses the cause on the way
        met = trouble(cause)
        if met is not None and not met.refused:
            raise DataSetTroubleError(task, met) from None
        why = reason(error, own)
        if met is not None:
            why = (
                f"its data are not on this machine and the hub {met.text}; download them once "
                "with network access, or set HF_HOME to their cache"
            )
        elif refused := known_refusal(data_sets.last, None, cause, "data set"):
            why = f"{refused.message} ({data_sets.last}); {refused.remedy}"
        problems.append(f"{key}: task {task!r} cannot be loaded: {why}")
        return None
    unusable = [each for leaf in loaded["tasks"].values() for each in unusable_fields(leaf)]
    problems += [f"{key}: task {task!r}: {each}" for each in unusable if own]
    return None if own and unusable else loaded


def _entry(
    key: str, task: TaskConfig, loaded: Any, config: EvaluationConfig, problems: list[str]
) -> list[LoadedTask]:
    """The entry, or none, in which case problems are added to `problems`."""
    faults = faults_of_leaves(key, task, loaded["tasks"], config.allow_unsafe)
    result_key, wrong = check_metric(key, task, loaded)
    problems += faults + wrong
    if faults or wrong:
        return []
    for leaf in loaded["tasks"].values():
        own = leaf.get_config("num_fewshot") or 0
        leaf.set_config(key="num_fewshot", value=own if task.fewshot is None else task.fewshot)
        if config.gen_kwargs and leaf.OUTPUT_TYPE == "generate_until":
            leaf.set_config(key="generation_kwargs", value=dict(config.gen_kwargs), update=True)
    return [LoadedTask(key, task, loaded, result_key)]


def _overlaps(entries: Iterable[LoadedTask]) -> list[str]:
    seen: dict[str, LoadedTask] = {}
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
    """Check the answer and the prompts of every item before the first merge.

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
            except Exception as error:  # templates and task code can raise anything
                problems.append(
                    f"{entry.key}: the prompts of task {name!r} cannot be built: {one_line(error)}"
                )
                continue
            items = len(suite.documents(name))
            text = "items have an answer that is not among their choices"
            if len(wrong) == items:
                text = f"{items} of {items} {text}"
                problems.append(f"{entry.key}: task {name!r}: {text}; see its doc_to_target")
            elif wrong:
                suite.warnings.append(
                    EvaluationWarning(
                        kind="no_answer", task=name, count=len(wrong), total=items, trouble=text
                    )
                )
    if problems:
        raise PreflightError("\n".join(problems))
