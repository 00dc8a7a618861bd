"""The public Python interface; `import evomerge` has all of it.

    run = evomerge.run("my.yaml")
    run.models().sort_values("score")
    run.plot.best_so_far()

The command line is a layer over it, with the same errors (`EvomergeError`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from evomerge.api.driving import Callback, driven, refuse_another_config, resumable
from evomerge.api.results import Run
from evomerge.config import Config, runs_folder
from evomerge.configfile import anchored, parse
from evomerge.configfile import load as load_config
from evomerge.configfile.citing import citing
from evomerge.domain.errors import EvomergeError
from evomerge.domain.objective import ObjectiveName
from evomerge.store.run_directory import RunDirectory, find_run, list_runs

if TYPE_CHECKING:
    import pandas as pd

    from evomerge.comparison.compared import Comparison

__all__ = [
    "Callback",
    "EvomergeError",
    "Run",
    "compare",
    "kinship",
    "load",
    "run",
    "runs",
    "unbundle",
]


def run(
    config: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    progress: Literal["auto"] | bool = "auto",
    accept_drift: bool = False,
) -> Run:
    """Evolve the models of a config; an unfinished run of this name is resumed.

    Args:
        config: path of a YAML file, or its content as a dictionary.
        overrides: values by dotted key, `{"strategy.k": 4}`, or as on the command line.
        callbacks: each is called with every event, after it was recorded, and the run's state. One
            that raises is told once and harms nothing.
        progress: `auto` shows a live view on a terminal, and in a notebook that has ipywidgets;
            lines elsewhere. False shows nothing.
        accept_drift: go on although models or library versions have changed since the start.

    Raises:
        ConfigError: with every fault of the config.
        PreflightError: something that would fail later; nothing was started.
        StoppedError: it stopped before its end, by Ctrl-C too; the same call goes on.
    """
    told = _as_words(overrides)
    settings = anchored(_config(config, told), Path.cwd())
    directory = RunDirectory(settings.run.dir / settings.run.name)
    refuse_another_config(directory, settings)
    cited = citing(Path(config), told) if isinstance(config, str | Path) else nullcontext()
    with cited, resumable(directory):
        driven(
            directory,
            settings,
            accept_drift=accept_drift,
            callbacks=callbacks,
            silent=progress is False,
        )
    return Run(directory.path)


def load(name: str | Path, runs_dir: str | Path | None = None) -> Run:
    """A run by its name below the runs folder, by its path, or by its config file.

    Args:
        runs_dir: default: the environment variable EVOMERGE_RUNS, else `runs`.

    Raises:
        UsageError: there is none; the message has the closest name.
    """
    return Run(find_run(str(name), Path(runs_dir or runs_folder())).path)


def runs(runs_dir: str | Path | None = None) -> list[Run]:
    """All runs of a runs folder, by name."""
    return [Run(each.path) for each in list_runs(Path(runs_dir or runs_folder())) if each.exists]


def unbundle(
    file: str | Path, runs_dir: str | Path | None = None, *, name: str | None = None
) -> Run:
    """Unpack a run that `Run.bundle` wrote.

    Args:
        runs_dir: default: the environment variable EVOMERGE_RUNS, else `runs`.
        name: of the run; default: its own.

    Raises:
        UsageError: the file is no bundle, or a run of this name exists.
        DamagedError: the file is damaged.
    """
    from evomerge.adapters.bundle import unpack

    return Run(unpack(Path(file), Path(runs_dir or runs_folder()), name).path)


def compare(several: Sequence[Run | str], objective: ObjectiveName | None = None) -> Comparison:
    """Compare runs: scores, costs, equal budgets, and where they part.

    Args:
        several: two runs or more, or their names.
        objective: judges all models; default: that of the first run.

    Raises:
        UsageError: there are fewer than two, or one has no score yet.
        IncomparableError: their scores have different meanings; says what differs.
    """
    from evomerge.api.comparing import comparison_of

    found = [each if isinstance(each, Run) else load(each) for each in several]
    return comparison_of([RunDirectory(each.path) for each in found], objective)


def kinship(
    models: Sequence[str | Path],
    base: str | Path,
    *,
    metric: str = "pcc",
    runs_dir: str | Path | None = None,
) -> pd.DataFrame:
    """Kinship of models over their base, measured over every byte: a symmetric frame.

    Args:
        models: hub ids or folders, two or more; adapters are merged in the store of `runs_dir`.
        metric: `pcc`, `cosine` or `euclidean`.

    Raises:
        UsageError: there are fewer than two models, or no such metric.
        PreflightError: a model cannot be used.
    """
    import pandas as pd

    from evomerge.api.measuring import given, measured
    from evomerge.api.results import metric_named

    chosen = metric_named(metric).value
    subject = given([*map(str, models)], str(base), Path(runs_dir or runs_folder()))
    tables = measured(subject, [chosen])
    names = list(tables.models)
    return pd.DataFrame(tables.parts[""][chosen], index=names, columns=names, dtype=float)


def _as_words(overrides: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Overrides as on the command line."""
    if isinstance(overrides, Mapping):
        return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return list(overrides)


def _config(config: object, told: Sequence[str]) -> Config:
    if isinstance(config, str | Path):
        return load_config(Path(config), told)
    if isinstance(config, Config):
        config = config.model_dump(mode="json", by_alias=True)
    return parse(yaml.safe_dump(config, sort_keys=False), "config", told)


class _Callable(type(sys)):  # type: ignore[misc]
    """The package `evomerge.kinship`, which can be called as the function of this name."""

    __call__ = staticmethod(kinship)


def _make_callable() -> None:
    import evomerge.kinship

    evomerge.kinship.__class__ = _Callable


_make_callable()
