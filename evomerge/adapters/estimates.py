"""Estimates of unmeasured kinship from the stored weight samples, for display only.

Nothing here imports torch, and no weights are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from evomerge.configfile import load_recorded
from evomerge.domain.errors import ConfigError
from evomerge.domain.kinship import EstimatedReading, Metric, Pair, all_pairs
from evomerge.domain.state import RunState
from evomerge.store.run_directory import RunDirectory

MOST = 200
"""Maximum number of models whose samples are read: some 400 MB, and 4 seconds on one core."""


def with_estimates(run: RunDirectory, state: RunState, pairs: Iterable[Pair]) -> RunState:
    """The state with readings of `pairs`; those that were not measured are estimated.

    For display only: decisions and digests use the state without estimates. For more than MOST
    models, only pairs of the first MOST are estimated; pairs with an unsampled model stay unknown.
    """
    wanted = _of_few(state.unmeasured(pairs))
    if not wanted:
        return state
    from evomerge.adapters.kinship_files import stored_samples
    from evomerge.kinship.estimates import estimates, parts_of

    base = state.start.base.content_id
    folder = run.store / "kinship" / base
    ids = {name: state.models[name].content_id for pair in wanted for name in pair}
    known = stored_samples(folder, base, ids.values())
    held = [(a, b) for a, b in wanted if ids[a] in known and ids[b] in known]
    if base not in known or not held:
        return state
    try:
        exclude = load_recorded(run.config).kinship.exclude
    except ConfigError:
        exclude = ()
    found = estimates(
        known[base],
        {name: known[ids[name]] for pair in held for name in pair},
        held,
        [metric.value for metric in Metric],
        parts_of(exclude),
    ).get("", {})
    fresh = {
        pair: EstimatedReading(
            models=pair,
            **{metric: estimated[pair].value for metric, estimated in found.items()},
            errors={Metric(metric): estimated[pair].error for metric, estimated in found.items()},
        )
        for pair in held
    }
    return replace(state, readings=state.readings.update(fresh))


def pool_pairs(state: RunState) -> Iterable[Pair]:
    """The pairs within the pool of every generation, the last generation first."""
    for generation in reversed(state.generations):
        yield from all_pairs(generation.pool or ())


def best_pairs(state: RunState) -> Iterable[Pair]:
    """All pairs of scored models: foundation models first, then the best."""
    foundation = [model.name for model in state.at_generation(0) if model.scores is not None]
    others = [model.name for model in state.ranking if model.generation]
    return all_pairs([*foundation, *others][:MOST])


def _of_few(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs of the first MOST models."""
    names: dict[str, None] = {}
    for pair in pairs:
        if len(names) + len(set(pair) - names.keys()) <= MOST:
            names |= dict.fromkeys(pair)
    return [pair for pair in pairs if set(pair) <= names.keys()]
