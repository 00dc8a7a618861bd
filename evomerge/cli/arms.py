"""The arms of a comparison: one config per arm and seed, run one after the other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from evomerge.api.driving import driven, refuse_another_config
from evomerge.config import Config
from evomerge.configfile import anchored, load
from evomerge.domain.errors import StoppedError, UsageError
from evomerge.store.run_directory import RunDirectory
from evomerge.strategies import STRATEGIES

_NOT_A_FILE = re.compile(r"[^A-Za-z0-9._-]+")
"""What the name of an arm can have and that of a folder cannot."""


@dataclass(frozen=True)
class ArmRun:
    """One run of a comparison.

    Attributes:
        config: the user's config with the arm's overrides, seed and run name.
        title: `greedy`, or `greedy, seed 1` with repeats.
    """

    config: Config
    title: str

    @property
    def run(self) -> RunDirectory:
        """The folder of the arm's run."""
        return RunDirectory(self.config.run.dir / self.config.run.name)


@dataclass(frozen=True)
class ArmOverrides:
    """An arm before it is run: a name, and the overrides that make it."""

    name: str
    overrides: tuple[str, ...]


def parsed_arms(strategies: str | None, further: Sequence[str]) -> tuple[ArmOverrides, ...]:
    """The arms of `--arms a,b,…` and of every `--arm 'NAME: KEY=VALUE …'`, in this order.

    Raises:
        UsageError: one is not understood, comes twice, or is the only one.
    """
    arms = [
        *(ArmOverrides(name, (f"strategy.name={name}",)) for name in _strategies(strategies or "")),
        *map(_parsed, further),
    ]
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the arm {name!r} comes twice", "name every arm once")
    if len(arms) < 2:
        raise UsageError(
            "a comparison needs two arms or more",
            f"for example --arms {','.join([*STRATEGIES.own][:2])}",
        )
    return tuple(arms)


def _parsed(text: str) -> ArmOverrides:
    name, colon, rest = text.partition(": ")
    try:
        overrides = shlex.split(rest)
    except ValueError:
        overrides = []
    if not (colon and name.strip() and overrides and all("=" in each for each in overrides)):
        raise UsageError(
            f"--arm: expected 'NAME: KEY=VALUE …', got {text!r}",
            "for example --arm 'ties: merge.method=ties' --arm 'wudi: merge.method=wudi'",
        )
    return ArmOverrides(name.strip(), tuple(overrides))


def _strategies(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in STRATEGIES.names and ":" not in name:
            raise UsageError(
                f"--arms: {name!r} is no strategy",
                f"expected some of {', '.join(STRATEGIES.names)}, separated by commas",
            )
    return names


def planned(
    path: Path, overrides: Sequence[str], arms: Sequence[ArmOverrides], repeats: int
) -> list[ArmRun]:
    """The arms in execution order: all arms of a seed, then the next seed.

    With one repeat the runs are named `<run.name>-<arm>`, with more
    `<run.name>-<arm>-seed<seed>`, where seeds count up from `run.seed`.

    Raises:
        ConfigError: the config, or a name derived from its `run.name`, is invalid.
    """
    base = load(path, overrides)
    return [
        _run_of(arm, path, overrides, base, base.run.seed + repeat, repeats)
        for repeat in range(repeats)
        for arm in arms
    ]


def _run_of(
    arm: ArmOverrides, path: Path, overrides: Sequence[str], base: Config, seed: int, repeats: int
) -> ArmRun:
    name, title = f"{base.run.name}-{_NOT_A_FILE.sub('-', arm.name)}", arm.name
    if repeats > 1:
        name, title = f"{name}-seed{seed}", f"{arm.name}, seed {seed}"
    own = (f"run.name={name}", f"run.seed={seed}", *arm.overrides)
    return ArmRun(anchored(load(path, (*overrides, *own)), Path.cwd()), title)


def run_arms(
    arms: Sequence[ArmRun], command: str, *, accept_drift: bool, plain: bool
) -> Iterator[RunDirectory]:
    """Run or resume the arms one after the other; yields each when it is finished.

    Args:
        command: the command that resumes after an interruption.

    Raises:
        UsageError: an arm was started with a different config; nothing has run.
        StoppedError: an arm stopped; its remedy is `command`.
    """
    for arm in arms:
        refuse_another_config(arm.run, arm.config)
    for number, arm in enumerate(arms, start=1):
        click.echo(f"arm {number} of {len(arms)}: {arm.title} (run {arm.run.name})", err=True)
        try:
            driven(arm.run, arm.config, accept_drift=accept_drift, plain=plain)
        except StoppedError as stopped:
            if stopped.remedy is None:
                stopped.remedy = f"resume with: {command}"
            raise
        yield arm.run


def command_again(
    path: Path, overrides: Sequence[str], arms: str | None, further: Sequence[str], repeats: int
) -> str:
    """The command that resumes these arms."""
    words = ["evomerge", "run", str(path), *(["--arms", arms] if arms else [])]
    words += [word for arm in further for word in ("--arm", arm)]
    words += ["--repeats", str(repeats)] if repeats > 1 else []
    for override in overrides:
        words += ["--set", override]
    return shlex.join(words)
