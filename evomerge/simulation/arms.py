"""Several arms on the same landscapes and seeds, for paired comparisons."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from evomerge.config import Config
from evomerge.domain.identity import derived_seed
from evomerge.simulation.landscape import LandscapeSettings, SyntheticLandscape
from evomerge.simulation.outcome import Outcome, simulate
from evomerge.stopping import MaxEvaluations

_CHUNK = 4  # searches that are sent to a process at a time


@dataclass(frozen=True)
class SimulatedArm:
    """The results of a config over all seeds. Scores are in points.

    Attributes:
        chosen: true score of the best-looking model after each evaluation, shape (seeds,
            evaluations).
        weakest: true score of the last such model on its weakest task, shape (seeds,).
        curse: its observed minus its true score (winner's curse), shape (seeds,).
        spent: number of evaluations used, shape (seeds,).
    """

    name: str
    config: Config
    chosen: NDArray[np.float64]
    weakest: NDArray[np.float64]
    curse: NDArray[np.float64]
    spent: NDArray[np.int64]

    def after(self, evaluations: int) -> tuple[float, float]:
        """(mean, standard error) over the seeds of `chosen` after `evaluations` evaluations."""
        column = self.chosen[:, min(evaluations, self.chosen.shape[1]) - 1]
        error = column.std(ddof=1) / np.sqrt(column.size) if column.size > 1 else 0.0
        return float(column.mean()), float(error)


def run_arms(
    arms: Sequence[tuple[str, Config]],
    settings: LandscapeSettings,
    *,
    count: int,
    evaluations: int,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SimulatedArm, ...]:
    """Run every arm on the same `count` landscapes; results are in the order of `arms`.

    The budget of `evaluations` replaces the stopping criteria of the configs.

    Args:
        arms: (name, config).
        jobs: number of processes, which does not affect results; default: one per core.
        progress: called with (finished searches, all searches).
    """
    budget = {"stopping": (MaxEvaluations(max_evaluations=evaluations),)}
    seeds = [derived_seed("simulation", seed, number) for number in range(count)]
    work = [(config.model_copy(update=budget), each) for _, config in arms for each in seeds]
    one = partial(_one, settings=settings)
    outcomes = []
    with ProcessPoolExecutor(jobs or os.cpu_count(), get_context("spawn")) as pool:
        for outcome in pool.map(one, work, chunksize=_CHUNK):
            outcomes.append(outcome)
            if progress is not None:
                progress(len(outcomes), len(work))
    return tuple(
        _arm(name, config, outcomes[count * place : count * (place + 1)], evaluations)
        for place, (name, config) in enumerate(arms)
    )


def better(a: SimulatedArm, b: SimulatedArm) -> float:
    """The share of landscapes on which `a` ends above `b`; ties count half."""
    difference = a.chosen[:, -1] - b.chosen[:, -1]
    return float(np.mean(np.where(difference == 0, 0.5, difference > 0)))


def _one(task: tuple[Config, int], *, settings: LandscapeSettings) -> Outcome:
    config, seed = task
    return simulate(config, SyntheticLandscape(settings, seed))


def _arm(name: str, config: Config, outcomes: Sequence[Outcome], evaluations: int) -> SimulatedArm:
    chosen = np.array([_filled(each.chosen, evaluations) for each in outcomes])
    return SimulatedArm(
        name=name,
        config=config,
        chosen=chosen,
        weakest=np.array([each.weakest[-1] for each in outcomes]),
        curse=np.array([each.seen[-1] - each.chosen[-1] for each in outcomes]),
        spent=np.array([len(each.chosen) for each in outcomes]),
    )


def _filled(values: tuple[float, ...], length: int) -> list[float]:
    """`values` padded to `length` with the last one, for searches that ended early."""
    return [*values, *([values[-1]] * (length - len(values)))]
