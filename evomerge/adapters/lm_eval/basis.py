"""Everything that the description of an evaluation depends on, without importing lm-eval.

It is the cache key of answers to `describe`. Where that cannot be determined (data on the hub, code
of a task file or model type, built-in tasks, groups), there is no key, and the child is asked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evomerge.adapters.lm_eval.files import TaskFile, read_task_files
from evomerge.adapters.lm_eval.model_types import OWN
from evomerge.adapters.machine import GPUS
from evomerge.config import EvaluationConfig
from evomerge.ports import Operation
from evomerge.store.artefacts import sha256

_LIBRARIES = (
    "lm_eval", "transformers", "tokenizers", "torch", "datasets", "pyarrow", "pandas", "numpy",
    "jinja2", "vllm",
)  # fmt: skip
_LOADERS = {"json", "csv", "parquet", "text"}
_ELSEWHERE = {"custom_dataset", "dataset_name", "promptsource", "use_prompt", "class", "tag"}
"""Keys of a task file that make it depend on more than itself and its data files."""


def basis(operation: Operation, device: str) -> dict[str, Any] | None:
    """The cache key of the answer to `describe`; None if it cannot be determined."""
    config = EvaluationConfig.model_validate(operation.arguments["evaluation"])
    found = read_task_files(config.include)
    names = [task.name for task in config.every_task.values()]
    names += [config.guard.task] if config.guard and config.guard.task else []
    files = [found.by_name.get(name) for name in names]
    if found.problems or not config.include or config.backend not in OWN:
        return None
    used = [file for file in files if file is not None and _is_plain(file)]
    if len(used) < len(names):
        return None
    try:
        read = _sums(
            path for file in found.by_name.values() for path in (file.path, *file.includes)
        )
        text = _sums([config.guard.path]) if config.guard and config.guard.path else {}
        data = {file.name or "": _data(file) for file in used}
    except (OSError, ValueError):
        return None
    return {
        "asked": operation.arguments,
        "device": device,
        "folder": str(Path.cwd()),
        "versions": {name: _version(name) for name in _LIBRARIES} | {"python": sys.version},
        "evomerge": _sums(path for path in Path(__file__).parent.glob("*.[pt][yx]*")),
        "gpus": _gpus(),
        "vllm": {name: text for name, text in os.environ.items() if name.startswith("VLLM_")},
        "files": read,
        "data": data,
        **({"text": text} if text else {}),
    }


def basis_of_probe(operation: Operation, device: str) -> dict[str, Any]:
    """What the answer to `probe` depends on: once chosen, other runs of the store keep to it."""
    return {
        "probe": operation.arguments,
        "model": operation.inputs["model"].name,
        "device": device,
        "versions": {name: _version(name) for name in _LIBRARIES},
        "gpus": _gpus(),
    }


def _is_plain(file: TaskFile) -> bool:
    """Whether a task is defined only by its files and local data."""
    config = file.config
    return (
        not file.runs_code
        and isinstance(config.get("task"), str)
        and "group" not in config
        and not _ELSEWHERE & {key for key, value in config.items() if value is not None}
        and config.get("dataset_path") in _LOADERS
        and set(config.get("dataset_kwargs") or {}) == {"data_files"}
        and not any(metric.get("hf_evaluate") for metric in config.get("metric_list") or ())
    )


def _data(file: TaskFile) -> dict[str, str]:
    """The digests of all data files, looked up in the working directory and beside the YAML.

    Raises:
        ValueError: there is no file, or one is remote.
    """
    patterns = list(_texts(file.config["dataset_kwargs"]["data_files"]))
    if any("://" in pattern for pattern in patterns):
        raise ValueError("remote data")
    places = (Path(), file.path.parent)
    found = {
        path.resolve()
        for pattern in patterns
        for place in places
        for path in ([Path(pattern)] if Path(pattern).is_absolute() else place.glob(pattern))
    }
    if not found:
        raise ValueError("no data file")
    return _sums(found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    else:
        for item in value:
            yield from _texts(item)


def _sums(paths: Iterable[Path]) -> dict[str, str]:
    return {str(path): sha256(path) for path in sorted(set(paths))}


def _gpus() -> list[str]:
    """The GPUs, which determine what a device of the config means."""
    cards = sorted(card.name for card in GPUS.iterdir()) if GPUS.is_dir() else []
    return [*cards, os.environ.get("CUDA_VISIBLE_DEVICES", "")]


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
