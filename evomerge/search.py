"""The search of a config: the first event of its run, and Algorithm 1 with its settings.

Used by real and imagined runs (replay, simulation, plan), so that a config means the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evomerge.breeding import Breeding
from evomerge.config import Config
from evomerge.domain.calibration import Calibration
from evomerge.domain.events import RunStarted
from evomerge.domain.model import Foundation
from evomerge.domain.state import RunState
from evomerge.evolution import NameChild, TestGains, WriteRecipe, child_name, evolve, untested
from evomerge.ports import Executor, Ledger
from evomerge.stopping import budget_of, criteria_of
from evomerge.strategies import new_kinds


def run_started(
    config: Config,
    base: Foundation,
    foundation: Sequence[Foundation],
    *,
    config_id: str,
    versions: Mapping[str, str] | None = None,
    batch_size: int | None = None,
    data_sets: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
    gpus: int = 0,
) -> RunStarted:
    """The first event of a run of `config`.

    Args:
        base: the base model, pinned to its content; like `foundation`, it replaces the config's.
        config_id: id of the settings that can change results.
        versions: versions of the libraries that determine results.
        data_sets: the hub commits of the tasks' data sets, by name.
        calibration: what merges learn from, if they do.
        gpus: the number in use.
    """
    return RunStarted(
        name=config.run.name,
        seed=config.run.seed,
        k=config.strategy.k,
        strategy=config.strategy.name,
        metric=config.kinship.metric,
        base=base,
        foundation=tuple(foundation),
        config_id=config_id,
        versions=dict(versions or {}),
        retention=config.retention,
        candidates=config.strategy.candidates,
        kinds=new_kinds(config.strategy),
        merge_method=config.merge.method,
        pool=config.strategy.pool,
        held_out_splits=config.evaluation.held_out_splits,
        batch_size=batch_size,
        objective=config.evaluation.objective,
        skill_kept_at=config.evaluation.skill_kept_at,
        data_sets=dict(data_sets or {}),
        guard=config.evaluation.guard and config.evaluation.guard.recorded,
        calibration=calibration,
        budget=budget_of(config.stopping),
        gpus=gpus,
    )


def search(
    config: Config,
    ledger: Ledger,
    executor: Executor,
    engine: str,
    *,
    write_recipe: WriteRecipe | None = None,
    name_child: NameChild = child_name,
    test_gains: TestGains = untested,
) -> RunState:
    """Run Algorithm 1 (`evolve`) with the config's strategy, merge method and criteria.

    A run that was extended ends at its new budget instead.

    Args:
        ledger: has at least the first event.
        engine: name and version of what executes recipes.
        write_recipe: makes recipes; default: from the config's merge section.

    Raises:
        StoppedError: the run cannot continue; all finished work is recorded.
    """
    start, extended = ledger.state.start, ledger.state.extended
    learnt = start.calibration.content_id if start.calibration else None
    breeding = Breeding(
        config.merge,
        start.seed,
        start.base,
        start.foundation,
        engine,
        learnt,
        lambda: ledger.state.at_generation(0),
    )
    return evolve(
        ledger,
        config.strategy,
        criteria_of(ledger.state.budget) if extended else config.stopping,
        write_recipe or breeding.recipe,
        executor,
        name_child,
        skip_above=config.merge.skip_if_kinship_above,
        test_gains=test_gains,
    )
