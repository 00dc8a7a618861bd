"""A whole run over the landscape fakes: real driver, real executor, real files, no torch.

    python -m evomerge.testing.landscape_run FOLDER [--strategy kinship] [--generations 3] [--k 3]
                                                   [--retention all] [--method dare_ties]

creates four foundation models in FOLDER/foundation, runs or resumes FOLDER/runs/landscape and
prints the decision digest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evomerge.config import Config
from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import EvomergeError
from evomerge.domain.events import Event
from evomerge.domain.limits import Limits
from evomerge.domain.state import RunState
from evomerge.driver import drive
from evomerge.evolution import TestGains, untested
from evomerge.execution.evaluation import Evaluation, agreed
from evomerge.execution.operations import describe
from evomerge.execution.pool import Pool
from evomerge.ports import Observer, Worker
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape import (
    LandscapeEvaluator,
    LandscapeMerger,
    LandscapeMeter,
    make_base,
    make_foundation,
)
from evomerge.workplace import Setting, Workplace

ENGINE = "landscape 1"
NAMES = ("ash", "birch", "cedar", "dogwood")


class SilentObserver:
    """An observer that ignores everything."""

    def on_event(self, event: Event, state: RunState) -> None:
        """Do nothing."""

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Do nothing."""


class LandscapeWorkplace(Workplace):
    """A landscape run over fakes; each worker can be replaced."""

    def __init__(
        self,
        root: Path,
        config: Config | None = None,
        *,
        merger: Worker | None = None,
        merge_workers: int = 1,
        evaluators: tuple[Worker, ...] | None = None,
        meter: Worker | None = None,
        model_size: int = 0,
    ) -> None:
        workers = [
            *((merger or LandscapeMerger(),) * merge_workers),
            *(evaluators or (LandscapeEvaluator(),)),
            meter or LandscapeMeter(),
        ]
        config = config or landscape_config()
        super().__init__(config, RunDirectory(root / "runs" / config.run.name), Pool(workers))
        self._root = root
        self._model_size = model_size

    @property
    def setting(self) -> Setting:
        """Four vectors and the origin, with a comment in place of a config file."""
        folder = self._root / "foundation"
        models = tuple(
            make_foundation(folder / name, name, seed) for seed, name in enumerate(NAMES)
        )
        base = make_base(folder / "base")
        return Setting(
            base=base,
            foundation=models,
            folders={model.content_id: Path(model.source) for model in (base, *models)},
            model_size=self._model_size,
            engine=ENGINE,
            versions={"landscape": "1"},
            config_id="landscape",
            config="# a landscape run has no config file\n",
            environment={},
        )

    def check(self) -> Evaluation:
        """Check that all workers describe the same evaluation."""
        asked = describe(self.config.evaluation, self.config.merge.options)
        return agreed(self.pool.on_each(asked)[0])

    def prepare(self, observer: Observer) -> None:
        """Do nothing: the vectors exist."""


def landscape_config(**changes: Any) -> Config:
    """The config of a landscape run; `changes` replace top-level sections."""
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
    more: int | Limits | None = None,
    test_gains: TestGains | None = untested,
) -> RunState:
    """Run or resume a landscape run below `root`; returns the final state.

    Args:
        more: extend a finished run by so much, or by so many evaluations.
        test_gains: None for the real tests, which take longer than all the rest.
    """
    workplace = workplace or LandscapeWorkplace(root, config)
    workplace.config = config or workplace.config
    return drive(
        workplace,
        [observer or SilentObserver()],
        accept_drift=accept_drift,
        more=Limits(max_evaluations=more) if isinstance(more, int) else more,
        test_gains=test_gains,
    )


def main(words: Sequence[str] | None = None) -> None:
    """The command; `words` are its arguments, by default those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strategy", default="kinship")
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--retention", default="all", choices=["all", "pool", "best"])
    parser.add_argument("--method", default="dare_ties")
    arguments = parser.parse_args(words)
    config = landscape_config(
        strategy={"name": arguments.strategy, "k": arguments.k},
        merge={"method": arguments.method},
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
