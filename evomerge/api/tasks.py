"""Tasks by what their files say, for a config to start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from evomerge.adapters.lm_eval.catalogue import TaskFacts, facts, is_unknown, known_task, similar
from evomerge.adapters.lm_eval.files import TaskFile, read_task_file
from evomerge.config import TaskConfig
from evomerge.domain.errors import UsageError

_BEST_FILTERS = ("none", "flexible-extract")
_BEST_METRICS = ("acc", "exact_match")


@dataclass(frozen=True)
class KnownTask:
    """A task for a config.

    Attributes:
        settings: further lines of its item of `evaluation.tasks`, with comments.
        folder: for `evaluation.include`; None for lm-eval's own.
        count: of its items; None if only its data would tell.
        is_group: whether it stands for several tasks.
    """

    name: str
    settings: tuple[str, ...]
    folder: Path | None = None
    count: int | None = None
    is_group: bool = False


def task_named(text: str) -> KnownTask:
    """A task by lm-eval's name or the path of its file.

    Raises:
        UsageError: there is none, or it has no score that could be maximised.
    """
    path = Path(text).expanduser()
    if path.suffix in {".yaml", ".yml"}:
        file = _own(path)
        return KnownTask(str(file.name), _settings(str(file.name), facts(file)), path.parent)
    if is_unknown(text):
        near = " or ".join(similar(text))
        raise UsageError(
            f"lm-eval has no task {text!r}",
            f"did you mean {near}?" if near else "`lm-eval ls tasks` lists all",
        )
    known = known_task(text)
    told = TaskFacts((), ()) if known is None else facts(known)
    is_group = known is not None and "group" in known.config
    return KnownTask(text, _settings(text, told), is_group=is_group)


def _own(path: Path) -> TaskFile:
    try:
        file = read_task_file(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    if file.name is None:
        raise UsageError(f"{path} names no `task`", "name a task file of lm-eval")
    return file


def _settings(name: str, told: TaskFacts) -> tuple[str, ...]:
    """Metric and filter of a task, as far as its file tells them."""
    usable = [metric for metric in told.metrics if _is_maximised(name, metric)]
    if told.metrics and not usable:
        metrics = ", ".join(told.metrics)
        raise UsageError(f"task {name!r} has no metric whose higher values are better ({metrics})")
    if not usable:
        return ("# metric, filter: not told by its file; `evomerge doctor` names those it has",)
    metric = next((each for each in _BEST_METRICS if each in usable), usable[0])
    others = ", ".join(each for each in usable if each != metric)
    lines = [f"metric: {metric}" + (f"  # also: {others}" if others else "")]
    if len(told.filters) > 1:
        chosen = next((each for each in _BEST_FILTERS if each in told.filters), told.filters[0])
        lines.append(f"filter: {chosen}  # one of {', '.join(told.filters)}")
    return tuple(lines)


def _is_maximised(name: str, metric: str) -> bool:
    try:
        TaskConfig(name=name, metric=metric)
    except ValidationError:
        return False
    return True
