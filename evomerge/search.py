"""The search that a config asks for: the first event of its run, and Algorithm 1 by its settings.

Real runs and imagined ones (replay, simulation, plan) come through here, so that a config means
the same to all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evomerge.breeding import Breeding
from evomerge.config import Config
from evomerge.domain.events import RunStarted
from evomerge.domain.model import Foundation
from evomerge.domain.state import RunState
from evomerge.evolution import NameChild, TestGains, WriteRecipe, child_name, evolve, untested
from evomerge.ports import Executor, Ledger
from evomerge.strategies import new_kinds


def run_started(
    config: Config,
    base: Foundation,
    foundation: Sequence[Foundation],
    *,
    config_id: str,
    versions: Mapping[str, str] | None = None,
) -> RunStarted:
    """The first event of a run of `config`.

    Args:
        base: the base model, and `foundation` the foundation models, pinned to their content; those
            that the config names are not looked at.
        config_id: of the settings that change results.
        versions: of the libraries that determine results.
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
        pool=config.strategy.pool,
        held_out_splits=config.evaluation.held_out_splits,
        objective=config.evaluation.objective,
        skill_kept_at=config.evaluation.skill_kept_at,
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
    """Run Algorithm 1 by the config's strategy, merge method and criteria to its end (`evolve`).

    Args:
        ledger: holds the first event at least.
        engine: what executes recipes, with its version.
        write_recipe: in the place of the config's merge section.

    Raises:
        StoppedError: the run cannot go on now; the ledger holds everything done so far.
    """
    start = ledger.state.start
    breeding = Breeding(config.merge, start.seed, start.base, start.foundation, engine)
    return evolve(
        ledger,
        config.strategy,
        config.stopping,
        write_recipe or breeding.recipe,
        executor,
        name_child,
        skip_above=config.merge.skip_if_kinship_above,
        test_gains=test_gains,
    )
