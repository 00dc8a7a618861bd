"""Tasks by what their files say, for a config to start from."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import ValidationError

from evomerge.adapters.lm_eval.catalogue import TaskFacts, facts, is_unknown, known_task, similar
from evomerge.adapters.lm_eval.files import TaskFile, read_task_file
from evomerge.adapters.lm_eval.own_task import (
    FORMATS,
    OF_CHOICES,
    Columns,
    Rows,
    check_rows,
    guessed_columns,
    path_from,
    read_rows,
    task_name,
    task_path,
    task_text,
)
from evomerge.config import EvaluationConfig, TaskConfig
from evomerge.config.evaluation import SplitConfig
from evomerge.domain.errors import PreflightError, UsageError
from evomerge.execution.evaluation import Example

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
    """A task by lm-eval's name, by the path of its file, or over a data file.

    The task file of a data file is written beside it, with the columns of the usual names.

    Raises:
        UsageError: there is none, it has no score that could be maximised, or the data have faults.
    """
    path = Path(text).expanduser()
    if path.suffix in FORMATS:
        return _over_data(path)
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


@dataclass(frozen=True)
class NewTask:
    """A task over one's own data.

    Attributes:
        path: of its file.
        text: of its file, from where the path of the data starts.
        anywhere: the same with the whole path of the data.
        count: of its items.
    """

    name: str
    path: Path
    text: str
    anywhere: str
    metric: str
    count: int

    @property
    def known(self) -> KnownTask:
        """As an item of a config."""
        return KnownTask(self.name, (f"metric: {self.metric}",), self.path.parent, self.count)

    def examples(self, count: int) -> tuple[Example, ...]:
        """Let lm-eval load and check the task; its first items as they are sent to a model.

        Raises:
            PreflightError, CandidateError: lm-eval cannot use it; says what is missing.
        """
        from evomerge.wiring import described

        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "task.yaml").write_text(self.anywhere, encoding="utf-8")
            task = TaskConfig(name=self.name, metric=self.metric)
            evaluation = EvaluationConfig(
                tasks=(task,), include=(Path(folder),), split=SplitConfig(held_out=0)
            )
            try:
                return described(evaluation, examples=count).examples
            except PreflightError as error:  # keys of the config that only this check has
                raise PreflightError(re.sub(r"(?m)^evaluation\.\S+: ", "", error.message)) from None

    def write(self) -> None:
        """Write the file.

        Raises:
            UsageError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(self.text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from None


def new_task(
    data: Path,
    rows: Rows,
    columns: Columns,
    metric: str | None = None,
    path: Path | None = None,
    name: str | None = None,
) -> NewTask:
    """A task over the rows of a data file.

    Args:
        metric: default: `acc` with choices, else `exact_match`.
        path: of the task file; default: beside the data.
        name: default: that of the data.

    Raises:
        UsageError: with the faults of the data, and the lines that have them.
    """
    check_rows(data, rows, columns)
    path, name = path or task_path(data), name or task_name(data)
    metric = metric or ("exact_match" if columns.choices is None else OF_CHOICES[0])
    if columns.choices is not None and metric not in OF_CHOICES:
        raise UsageError(f"with choices the metric is one of {', '.join(OF_CHOICES)}, not {metric}")
    text, anywhere = (
        task_text(name, place, rows, columns, metric)
        for place in (path_from(path.parent, data), str(data.resolve()))
    )
    return NewTask(name, path, text, anywhere, metric, len(rows))


def _over_data(data: Path) -> KnownTask:
    """The task over a data file: of its task file, which is written unless it is there."""
    rows = read_rows(data)
    task = new_task(data, rows, guessed_columns(data, rows))
    if task.path.exists():
        return replace(task_named(str(task.path)), count=task.count)
    task.write()
    return task.known
