"""A whole run over the landscape fakes: real driver, real executor, real files, no torch.

    python -m evomerge.testing.landscape_run FOLDER [--strategy kinship] [--generations 3] [--k 3]
                                                   [--retention all]

makes four foundation models in FOLDER/foundation, runs or resumes FOLDER/runs/landscape and
prints the decision digest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from evomerge.adapters.attempts import Limits
from evomerge.adapters.local import LocalExecutor
from evomerge.adapters.room import Room
from evomerge.config import Config
from evomerge.domain.difference import Gains
from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import EvomergeError
from evomerge.domain.events import Event
from evomerge.domain.model import Foundation, StrategyName
from evomerge.domain.state import RunState
from evomerge.driver import drive
from evomerge.gains import gains_of_best
from evomerge.ports import Evaluator, KinshipMeter, Merger, Observer
from evomerge.store.artefacts import Store
from evomerge.store.census import needed_weights, states_of
from evomerge.store.run_directory import STORE_FOLDER, RunDirectory
from evomerge.testing.landscape import (
    LandscapeEvaluator,
    LandscapeMerger,
    LandscapeMeter,
    make_base,
    make_foundation,
)

NAMES = ("ash", "birch", "cedar", "dogwood")


class Silence:
    """An observer that says nothing."""

    def happened(self, event: Event, state: RunState) -> None:
        """Nothing."""

    def progressed(self, model: str, activity: str, done: int, total: int) -> None:
        """Nothing."""


class LandscapeWorkplace:
    """Implements `evomerge.driver.Workplace` over fakes; each part can be replaced."""

    engine = LandscapeMerger.engine

    def __init__(
        self,
        root: Path,
        *,
        merger: Merger | None = None,
        merge_workers: int = 1,
        evaluators: tuple[Evaluator, ...] | None = None,
        meter: KinshipMeter | None = None,
        limits: Limits | None = None,
        model_size: int = 0,
        tests_gains: bool = False,
    ) -> None:
        self._root = root
        self._tests_gains = tests_gains
        self._parts = (
            (merger or LandscapeMerger(),) * merge_workers,
            evaluators or (LandscapeEvaluator(),),
            meter or LandscapeMeter(),
        )
        self._limits = limits or Limits()
        self._model_size = model_size
        self._executor: LocalExecutor | None = None

    def foundation(self) -> tuple[Foundation, tuple[Foundation, ...]]:
        """Four vectors and the origin."""
        folder = self._root / "foundation"
        models = tuple(
            make_foundation(folder / name, name, seed) for seed, name in enumerate(NAMES)
        )
        return make_base(folder / "base"), models

    def versions(self) -> dict[str, str]:
        """The landscape's own."""
        return {"landscape": "1"}

    def check(self) -> str:
        """Nothing can be wrong; the evaluation id."""
        return self._parts[1][0].evaluation_id

    def executor(self, observer: Observer) -> LocalExecutor:
        """A real executor over the fakes and a real store."""
        base, models = self.foundation()
        runs = self._root / "runs"
        mergers, evaluators, meter = self._parts
        self._executor = LocalExecutor(
            store=Store(runs / STORE_FOLDER),
            mergers=mergers,
            evaluators=evaluators,
            meter=meter,
            folders={model.content_id: Path(model.source) for model in (base, *models)},
            limits=self._limits,
            observer=observer,
            room=Room(runs / STORE_FOLDER, model_size=self._model_size),
            needed_elsewhere=lambda: needed_weights(states_of(runs, runs / "landscape")),
        )
        return self._executor

    def test_gains(self, state: RunState) -> Gains | None:
        """From the logs, where that is asked for: it takes longer than all the rest."""
        store = Store(self._root / "runs" / STORE_FOLDER)
        return gains_of_best(state, store, {}) if self._tests_gains else None

    def describe(self) -> tuple[str, str, dict[str, Any]]:
        """A config id, a note in the place of a config, an empty environment."""
        return "landscape", "# a landscape run has no config file\n", {}

    def close(self) -> None:
        """Close the executor."""
        if self._executor is not None:
            self._executor.close()


def landscape_config(**changes: Any) -> Config:
    """A config of a landscape run; `changes` replace top-level sections."""
    document: dict[str, Any] = {
        "run": {"name": "landscape", "seed": 1},
        "base_model": "base",
        "foundation_models": list(NAMES),
        "strategy": {"name": "kinship", "k": 3},
        "merge": {"method": "dare_ties"},
        "evaluation": {"tasks": ["landscape"]},
        "stopping": [{"max_generations": 3}],
    }
    return Config.model_validate({**document, **changes})


def run_landscape(
    root: Path,
    config: Config | None = None,
    workplace: LandscapeWorkplace | None = None,
    observer: Observer | None = None,
    *,
    accept_drift: bool = False,
) -> RunState:
    """Run or resume `root/runs/landscape`; the state at its end."""
    return drive(
        RunDirectory(root / "runs" / "landscape"),
        config or landscape_config(),
        workplace or LandscapeWorkplace(root),
        [observer or Silence()],
        accept_drift=accept_drift,
    )


def main(words: Sequence[str] | None = None) -> None:
    """The command; `words` are its arguments, those of the process if None."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strategy", default="kinship", choices=get_args(StrategyName))
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--retention", default="all", choices=["all", "pool", "best"])
    arguments = parser.parse_args(words)
    config = landscape_config(
        strategy={"name": arguments.strategy, "k": arguments.k},
        stopping=[{"max_generations": arguments.generations}],
        retention=arguments.retention,
    )
    try:
        state = run_landscape(arguments.folder, config)
    except EvomergeError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    sys.stdout.write(decision_digest(state) + "\n")


if __name__ == "__main__":
    main()
