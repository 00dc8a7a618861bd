"""The data of tasks: looked up beside the YAML, preprocessed once, and digested."""

from __future__ import annotations

import functools
import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.task import ConfigurableTask

from evomerge.adapters.hub_errors import ask, trouble
from evomerge.adapters.lm_eval.json_values import digest, plain
from evomerge.adapters.lm_eval.model_types import OWN, identity_of


def seed_everything(seed: int) -> None:
    """Seed every global random number generator."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002, task code draws from the global generator
    torch.manual_seed(seed)


class DataSets:
    """The data sets that tasks load: hub commits to use, and those that were used.

    Attributes:
        commits: by name; those given, and after loading those that came about.
        last: the name of the one that was loaded last.
    """

    def __init__(self, commits: Mapping[str, str]) -> None:
        self.commits = dict(commits)
        self.last = ""
        self._tried = False
        self._refused: Exception | None = None

    def asked_again(self) -> Exception | None:
        """What the hub says when it is asked for the last data set once more."""
        from huggingface_hub import HfApi

        if self._refused is not None:
            return self._refused
        try:
            HfApi().dataset_info(self.last)
            HfApi().auth_check(self.last, repo_type="dataset")
        except Exception as error:  # huggingface_hub lets errors of several libraries through
            return error
        return None

    @property
    def is_on_hub(self) -> bool:
        """Whether the last data set is neither a file format nor a folder."""
        from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

        return self.last not in _PACKAGED_DATASETS_MODULES and not Path(self.last).exists()

    @property
    def is_refused(self) -> bool:
        """Whether no connection to the hub comes about; tried once, for a few seconds.

        datasets tries each request again and again, a minute for three tasks.
        """
        from huggingface_hub import constants

        if not self._tried and not constants.HF_HUB_OFFLINE:
            self._tried = True
            try:
                ask()
            except Exception as error:  # httpx's, or httpx2's
                met = trouble(error)
                self._refused = error if met is not None and met.refused else None
        return self._refused is not None

    @contextmanager
    def used(self) -> Iterator[None]:
        """While tasks are loaded, use these commits, and relative `data_files` beside the YAML too.

        lm-eval looks only in the working directory, so a run would depend on where it is started.
        A file in the working directory takes precedence.
        """
        original, own = ConfigurableTask.download, self

        @functools.wraps(original)
        def download(
            self: Any, dataset_kwargs: dict[str, Any] | None = None, **others: Any
        ) -> None:
            source = (self.config.metadata or {}).get("config_source")
            if dataset_kwargs and source and source != "inline":
                dataset_kwargs = _resolved(dataset_kwargs, Path(source).parent)
            own.last = str(self.DATASET_PATH)
            commit = own.commits.get(own.last)
            kept = commit and not dataset_kwargs and _cached(own.last, self.DATASET_NAME, commit)
            if kept:
                self.dataset = kept
                return
            pin = {"revision": commit} if commit else {}
            arguments = {**pin, **(dataset_kwargs or {})} or None
            if own.is_on_hub and own.is_refused:
                with _offline():
                    original(self, arguments, **others)
            else:
                original(self, arguments, **others)
            if found := _commit_of(self.dataset):
                own.commits[own.last] = found

        ConfigurableTask.download = download
        try:
            yield
        finally:
            ConfigurableTask.download = original


@contextmanager
def _offline() -> Iterator[None]:
    """Let datasets and huggingface_hub take what is in their caches, and ask nobody."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _cached(name: str, config: str | None, commit: str) -> Any:
    """A data set of the hub as it was prepared at a commit before; None if it was not."""
    from datasets.packaged_modules.cache.cache import Cache

    short = name.rpartition("/")[2]
    try:
        builder = Cache(
            repo_id=name, dataset_name=short, config_name=config, version="0.0.0", hash=commit
        )
        builder.download_and_prepare()
        return builder.as_dataset()
    except (OSError, ValueError):
        return None


def _commit_of(data: Mapping[str, Any]) -> str | None:
    """The hub commit of a data set, which is the name of the folder where it was prepared."""
    files = [file for split in data.values() for file in getattr(split, "cache_files", ())]
    folder = Path(files[0]["filename"]).parent.name if files else ""
    return folder if re.fullmatch(r"[0-9a-f]{40}", folder) else None


def _resolved(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    resolved = dict(arguments)
    for name in ("data_files", "data_dir"):
        if name in resolved:
            resolved[name] = _beside(resolved[name], folder)
    return resolved


def _beside(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _beside(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_beside(item, folder) for item in value]
    if not isinstance(value, str) or "://" in value or Path(value).is_absolute():
        return value
    here, beside = (any(place.glob(value)) for place in (Path(), folder))
    return str(folder / value) if beside and not here else value


def memoized_documents(task: Any, seed: int) -> None:
    """Make a task preprocess its documents only once.

    This saves time, and gives one set of documents if `process_docs` draws random numbers.
    """
    process = getattr(task.config, "process_docs", None)
    if callable(process):
        seed_everything(seed)
        task.config.process_docs = functools.lru_cache(maxsize=None)(process)


def description(suite: Any) -> dict[str, Any]:
    """What determines scores beyond the config: versions, and digests of tasks and items.

    JSON, without paths and machine names.
    """
    libraries = ["lm_eval", "transformers", "tokenizers", "torch"]
    libraries += ["vllm"] if suite.config.backend == "vllm" else []
    own = suite.config.backend in OWN
    engine = {"engine": _engine_settings()} if suite.config.backend == "vllm" else {}
    return {
        **({} if own else {"model_type": identity_of(suite.config.backend)}),
        **engine,
        # Without the local part of a build (+cpu, +cu128): the device is not part of the identity.
        "versions": {name: version(name).partition("+")[0] for name in libraries},
        "groups": {
            name: digest([group.to_dict()]) for name, group in suite.task_dict["groups"].items()
        },
        "tasks": {name: _task_description(suite, name) for name in suite.tasks},
        **({} if suite.guard is None else {"guard": suite.guard.description}),
    }


def _engine_settings() -> dict[str, Any]:
    """What affects vLLM's numbers besides its version and arguments.

    The environment variables that vLLM defines, except those that its key of compiled code leaves
    out (paths, ports, logging); with Triton it uses its second model runner if there is one.
    """
    from vllm import envs
    from vllm.triton_utils import HAS_TRITON

    known = envs.compile_factors()
    return {
        "triton": bool(HAS_TRITON),
        "variables": {
            name: os.environ[name]
            for name in sorted(os.environ.keys() & known.keys())
            if name.startswith("VLLM_")
        },
    }


def _task_description(suite: Any, name: str) -> dict[str, Any]:
    task = suite.tasks[name]
    documents = suite.documents(name)
    return {
        "version": plain(task.VERSION),
        "config": digest([_without_places(task.config.to_dict(keep_callable=True))]),
        "items": len(documents),
        "documents": digest(documents),
        "fewshot": digest(_fewshot_documents(task)),
    }


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """A task's config without file locations; the content of the files is digested instead."""
    kept = {
        key: value for key, value in config.items() if key not in ("dataset_kwargs", "metadata")
    }
    kept["dataset_kwargs"] = {
        key: value
        for key, value in (config.get("dataset_kwargs") or {}).items()
        if key not in ("data_files", "data_dir")
    }
    kept["metadata"] = {
        key: value
        for key, value in (config.get("metadata") or {}).items()
        if key != "config_source"
    }
    if Path(str(kept.get("dataset_path"))).exists():
        del kept["dataset_path"]
    return kept


def _fewshot_documents(task: Any) -> list[Any]:
    if not task.config.num_fewshot:
        return []
    sampler = getattr(task, "sampler", None)
    return list(sampler.df if sampler is not None else task.fewshot_docs())
