"""The weights that a run still needs. Weights are a cache: pruned models can be merged again."""

from __future__ import annotations

from collections.abc import Mapping

from evomerge.domain.recipe import Recipe
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


def task_vectors(state: RunState) -> Mapping[str, Recipe]:
    """A recipe that sums them, for each set of disentangled task vectors (by content id)."""
    recipes = (model.candidate.recipe for model in state.models.values() if model.candidate)
    return {each.task_vectors: each for each in recipes if each.task_vectors is not None}


def needed_task_vectors(state: RunState) -> frozenset[str]:
    """The content ids of the sets that have to be kept now.

    Those of foundation models as long as the search goes on, since it weighs them again; others
    until their generation is finished. With retention `all` every one is kept for good.
    """
    every = task_vectors(state)
    if state.retention == "all":
        return frozenset(every)
    if state.finished:
        return frozenset()
    foundation = {model.content_id for model in state.at_generation(0)}
    unfinished = state.open_generation.candidates if state.open_generation else ()
    now = {candidate.recipe.task_vectors for candidate in unfinished}
    return frozenset(
        name
        for name, recipe in every.items()
        if name in now or foundation.issuperset(parent.model for parent in recipe.parents)
    )


def _explorable(state: RunState) -> set[str]:
    match state.start.candidates:
        case "repository":
            return set(state.models)
        case "pool":
            return set()
        case "grandparent_generation":
            last = state.generations[-1].number
            return {
                model.name
                for number in (last - 1, last)
                for model in state.at_generation(number)
                if model.kept_out is None
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
