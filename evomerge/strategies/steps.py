"""The steps of Algorithm 1 of arXiv 2410.12613 that strategies share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, islice

from evomerge.domain.kinship import KinshipMatrix, Pair, pair
from evomerge.domain.model import CandidateSet, Coefficients, MergeKind, Model, Proposal
from evomerge.domain.objective import Worth
from evomerge.domain.population import rank
from evomerge.domain.settings import identity
from evomerge.domain.state import RunState
from evomerge.domain.value import Value

GREEDY = MergeKind(name="greedy", label="greedy merge", colour="blue")
EXPLORATION = MergeKind(name="exploration", label="exploration merge", colour="orange")


class ExplorationOptions(Value):
    """Exploration merges of the best model with a partner."""

    candidates: CandidateSet | None = identity(
        default=None,
        description="possible partners: models two generations before the child (as in the paper; "
        "default of kinship and random), all models (default of steady_state), or the pool",
    )


def greedy_pairs(state: RunState) -> tuple[Proposal, ...]:
    """Greedy merges (Algorithm 1, steps 1 and 2a), in order of preference.

    Generation 1: all pairs of foundation models. Later: the k best untried pairs of S by mean
    score of the parents; ties by the mean over the tasks, where the objective ranks by it, then by
    names. A pool with elites is ordered by `potential`, since elites have low mean scores.
    """
    first = state.generation is not None and state.generation.number == 0
    members = state.ranking if first else state.pool
    pairs = [(a, b) for a, b in combinations(members, 2) if not state.tried(a.name, b.name)]
    elites = state.start.pool == "elites"
    worth, measure = (
        (potential, "the score of the better parent on each task")
        if elites
        else (mean_worth, "mean score")
    )
    pairs.sort(
        key=lambda pair: (*(-each for each in worth(pair)), sorted(model.name for model in pair))
    )
    chosen = pairs if first else pairs[: state.k]
    return tuple(
        propose_merge(
            GREEDY,
            pair,
            "every pair of foundation models is merged first"
            if first
            else f"pair {place} of the pool by {measure}",
        )
        for place, pair in enumerate(chosen, start=1)
    )


def best_untried_pair(state: RunState) -> tuple[Model, Model] | None:
    """The untried pair of S of highest mean worth, ties by names; None if there is none.

    Equal to the first of `greedy_pairs` without elites, but without enumerating all pairs.
    """
    members = sorted(state.pool, key=lambda model: model.worth or Worth(0.0), reverse=True)
    chosen: tuple[Model, Model] | None = None
    order: tuple[float, float, list[str]] | None = None
    for place, a in enumerate(members):
        for b in members[place + 1 :]:
            if state.tried(a.name, b.name):
                continue
            score, mean = mean_worth((a, b))
            if order is not None and -score > order[0]:
                break  # the following models score no higher than b
            own = (-score, -mean, sorted((a.name, b.name)))
            if order is None or own < order:
                chosen, order = (a, b), own
    return chosen


def most_pairs(k: int, foundation: int) -> int:
    """The maximum number of greedy merges in a generation."""
    return max(k, foundation * (foundation - 1) // 2)


def exploration_candidates(
    state: RunState, candidates: CandidateSet, proposed: Sequence[Proposal]
) -> tuple[Model, ...]:
    """Possible partners of M_best (Algorithm 1, step 2b), by generation and name.

    Models that M_best was already merged with, or is by a `proposed` merge, are left out.
    """
    return _explorable(state, _members(state, candidates), proposed)


def contenders(state: RunState, candidates: CandidateSet) -> tuple[Model, ...]:
    """A few of the `exploration_candidates`, which include the one least related to M_best.

    With `repository` these are the models whose kinship to M_best was not measured yet, and the
    least related of the others, so that the cost does not grow with the number of models.
    """
    best = state.best
    if best is None or candidates != "repository":
        return exploration_candidates(state, candidates, ())
    relatives = state.relatives
    others = (
        model
        for generation in reversed(state.generations)
        for model in state.at_generation(generation.number)
        if model.selectable and model.name not in relatives.measured and model.name != best.name
    )
    # Usually the latest ones, so that the iteration ends early.
    unknown = islice(others, len(state.models.ranks) - 1 - len(relatives.measured))
    known = (state.models[name] for *_, name in relatives.ranks)
    least = (model for model in known if not state.tried(best.name, model.name))
    return _explorable(state, (*unknown, *islice(least, 1)))


def _members(state: RunState, candidates: CandidateSet) -> Sequence[Model]:
    match candidates:
        case "grandparent_generation":
            return state.at_generation(len(state.generations) - 2)
        case "repository":
            return state.ranking
        case "pool":
            return state.pool


def _explorable(
    state: RunState, members: Sequence[Model], proposed: Sequence[Proposal] = ()
) -> tuple[Model, ...]:
    """Those of `members` that M_best may explore with, by generation and name."""
    best = state.best
    if best is None or len(state.generations) < 2:
        return ()
    taken = {frozenset(proposal.parents) for proposal in proposed}
    return tuple(
        model
        for model in sorted(members, key=lambda model: (model.generation, model.name))
        if model.selectable
        and model.name != best.name
        and not state.tried(best.name, model.name)
        and frozenset((best.name, model.name)) not in taken
    )


def least_related(best: Model, partners: Sequence[Model], kinship: KinshipMatrix) -> Model | None:
    """The partner least related to `best` (Algorithm 1, line 9); ties by generation and name.

    Partners of unknown or undefined kinship are ignored; None if no other remains.
    """
    known = [model for model in partners if kinship.between(best.name, model.name) is not None]
    return min(
        known,
        key=lambda model: (
            kinship.closeness(best.name, model.name) or 0.0,
            model.generation,
            model.name,
        ),
        default=None,
    )


def pairs_with(best: Model | None, partners: Sequence[Model]) -> tuple[Pair, ...]:
    """The pairs of `best` with each of `partners`; none without a best model."""
    return () if best is None else tuple(pair(best.name, model.name) for model in partners)


def exploration(best: Model, partner: Model, why: str) -> Proposal:
    """The exploration merge of `best` and `partner` (Algorithm 1, step 2b).

    Args:
        why: the reason, for reports.
    """
    return propose_merge(EXPLORATION, (best, partner), f"exploration: {why}")


def foundation_models(state: RunState) -> tuple[Model, ...]:
    """The scored foundation models, best first."""
    scored = (model for model in state.at_generation(0) if model.scores is not None)
    return tuple(sorted(scored, key=rank))


def propose_merge(
    kind: MergeKind,
    parents: Sequence[Model],
    reason: str,
    coefficients: Coefficients | None = None,
) -> Proposal:
    """A proposal with its parents in merge order: best first, as given if with `coefficients`."""
    ordered = sorted(parents, key=rank) if coefficients is None else parents
    names = tuple(model.name for model in ordered)
    return Proposal(
        kind=kind.name,
        parents=names,
        mean_score=mean_score(ordered),
        reason=reason,
        coefficients=coefficients,
    )


def mean_score(models: Sequence[Model]) -> float:
    """Mean score of scored models, in points."""
    return mean_worth(models).score


def mean_worth(models: Sequence[Model]) -> Worth:
    """Mean worth of scored models."""
    scores, means = zip(*(model.worth or Worth(0.0) for model in models), strict=True)
    return Worth(sum(scores) / len(models), sum(means) / len(models))


def potential(models: Sequence[Model]) -> Worth:
    """The worth of a hypothetical child with the better parent's score on every task."""
    each = [model.scores.tasks for model in models if model.scores]
    best = [max(column, key=lambda task: task.value) for column in zip(*each, strict=True)]
    return models[0].objective().worth(best) or Worth(0.0)
