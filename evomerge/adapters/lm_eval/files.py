"""Reads the task YAMLs of `evaluation.include` before lm-eval does.

lm-eval silently ignores a file that it cannot parse, and imports the Python files named by
`!function` as soon as a task is loaded. Both have to be known before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_SafeLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_IGNORED_FOLDERS = {"__pycache__", ".ipynb_checkpoints"}
_TASK_KEYS = {"dataset_path", "doc_to_text", "doc_to_target", "output_type", "metric_list"}


class _Function(str):
    """An unresolved `!function`."""


class _Loader(_SafeLoader):  # type: ignore[misc]
    pass


_Loader.add_constructor("!function", lambda loader, node: _Function(loader.construct_scalar(node)))


@dataclass(frozen=True)
class TaskFile:
    """One YAML file with all files that it includes.

    Attributes:
        name: the task or group that it defines; None for a file that others include.
        runs_code: whether loading it imports the user's Python code.
        includes: all included files, without itself.
        config: its keys, merged over those that it includes.
    """

    path: Path
    name: str | None
    runs_code: bool
    includes: frozenset[Path]
    config: Mapping[str, Any]


@dataclass
class TaskFiles:
    """The content of the include folders.

    Attributes:
        by_name: the file of each task and group; later folders take precedence, as in lm-eval.
        problems: lines `<key>: <what is wrong>`.
    """

    by_name: dict[str, TaskFile] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_task_files(folders: Sequence[Path]) -> TaskFiles:
    """Read every `*.yaml` below `folders`; nothing is imported or executed."""
    found = TaskFiles()
    for number, folder in enumerate(folders):
        key = f"evaluation.include[{number}]"
        if not folder.is_dir():
            found.problems.append(f"{key}: there is no folder {folder}")
            continue
        _read_folder(key, folder, found)
    return found


def _read_folder(key: str, folder: Path, found: TaskFiles) -> None:
    fragments: list[Path] = []
    included: set[Path] = set()
    for path in _yaml_files(folder):
        try:
            file = read_task_file(path)
        except (yaml.YAMLError, OSError, ValueError) as error:
            found.problems.append(f"{key}: {path}: {_one_line(error)}")
            continue
        included |= file.includes
        if file.name is None:
            fragments += [path] if _TASK_KEYS & file.config.keys() else []
            continue
        other = found.by_name.get(file.name)
        if other is not None:
            found.problems.append(
                f"{key}: {path}: {file.name!r} is already defined in {other.path}"
            )
        found.by_name[file.name] = file
    for path in fragments:
        if path.resolve() not in included:
            found.problems.append(f"{key}: {path}: neither `task` nor `group` names it")


def _yaml_files(folder: Path) -> Iterable[Path]:
    return sorted(
        path for path in folder.glob("**/*.yaml") if not _IGNORED_FOLDERS & set(path.parts)
    )


def read_task_file(path: Path) -> TaskFile:
    """Read one file and those that it includes.

    Raises:
        yaml.YAMLError, OSError, ValueError: one cannot be read, or is no task file.
    """
    config, includes, runs_code = _merged(path.resolve(), frozenset())
    name = config.get("group", config.get("task"))
    if name is not None and not isinstance(name, str):
        raise ValueError(f"the name of a task must be a string, not {name!r}")
    return TaskFile(path, name, runs_code or "class" in config, frozenset(includes), config)


def _merged(path: Path, above: frozenset[Path]) -> tuple[dict[str, Any], set[Path], bool]:
    """The keys of a file, merged over those that it includes."""
    if path in above:
        raise ValueError(f"it includes itself through {path}")
    config = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506, safe loader's subclass
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not a mapping")  # noqa: TRY004
    runs_code = _has_function(config)
    merged: dict[str, Any] = {}
    files: set[Path] = set()
    given = config.pop("include", [])
    for item in given if isinstance(given, list) else [given]:
        target = (path.parent / str(item)).resolve()
        inner, deeper, code = _merged(target, above | {path})
        merged |= inner
        files |= {target} | deeper
        runs_code = runs_code or code
    return merged | config, files, runs_code


def _has_function(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_function(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_function(item) for item in value)
    return isinstance(value, _Function)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
