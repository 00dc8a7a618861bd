"""The weights that a run still needs. Weights are a cache: pruned models can be merged again."""

from __future__ import annotations

from evomerge.domain.state import RunState


def needed(state: RunState) -> frozenset[str]:
    """The names of the models whose weights have to be kept now.

    With `pool` and `best` a running search keeps all possible parents: the pool (models never
    return to it), possible exploration partners in the next two generations, and the open
    generation. At the end `pool` keeps the last pool and `best` the best model. Foundation models
    are always included.
    """
    foundation = {model.name for model in state.at_generation(0)}
    if state.retention == "all":
        return frozenset(state.models)
    best = {state.best.name} if state.best else set()
    pool = {model.name for model in state.pool}
    if state.finished:
        return frozenset(foundation | best | (pool if state.retention == "pool" else set()))
    return frozenset(foundation | best | pool | _explorable(state) | _unfinished(state))


def unneeded(state: RunState) -> tuple[str, ...]:
    """The names of merged models whose weights can be pruned, in order."""
    searches_all = not state.finished and state.start.candidates == "repository"
    if state.retention == "all" or searches_all:
        return ()
    keep = needed(state)
    return tuple(name for name, model in state.models.items() if model.merged and name not in keep)


def _explorable(state: RunState) -> set[str]:
    match state.start.candidates:
        case "repository":
            return set(state.models)
        case "pool":
            return set()
        case "grandparent_generation":
            last = state.generations[-1].number
            return {
                model.name for number in (last - 1, last) for model in state.at_generation(number)
            }


def _unfinished(state: RunState) -> set[str]:
    """The open generation and its parents."""
    generation = state.open_generation
    if generation is None:
        return set()
    candidates = generation.candidates
    return {
        name for candidate in candidates for name in (candidate.name, *candidate.proposal.parents)
    }
