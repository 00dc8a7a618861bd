"""The loop of Algorithm 1 of arXiv 2410.12613; its steps are in `domain/` and `strategies/`.

Each step takes the remaining work from the state, so that an interrupted run is resumed by calling
`evolve` again; recorded work is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from random import Random

from evomerge.domain.difference import Gains
from evomerge.domain.events import (
    GainsTested,
    GenerationFinished,
    GenerationProposed,
    MergesSkipped,
    RunFinished,
)
from evomerge.domain.identity import derived_seed
from evomerge.domain.kinship import Pair, all_pairs
from evomerge.domain.model import Candidate, Model, Proposal, SkippedMerge
from evomerge.domain.population import rank
from evomerge.domain.recipe import Recipe
from evomerge.domain.state import RunState
from evomerge.plugins import blamed
from evomerge.ports import Executor, Ledger, record_all
from evomerge.stopping import Criterion, evaluations_left, first_reached, pairs_read
from evomerge.strategies import Strategy

WriteRecipe = Callable[[Proposal, Sequence[Model]], Recipe]
TestGains = Callable[[RunState], Gains | None]
NameChild = Callable[[int, int, Proposal], str]


def child_name(generation: int, number: int, proposal: Proposal) -> str:
    """`model-<generation>-<number>`; for exploration `model-<generation>-exp`.

    Exploration merges with weights of their own, which there can be several of, are
    `…-exp-<number>`.
    """
    if proposal.kind != "exploration":
        return f"model-{generation}-{number}"
    return f"model-{generation}-exp" + (f"-{number}" if proposal.coefficients else "")


def untested(state: RunState) -> None:
    """A `TestGains` for runs without per-item results: no test."""


def evolve(
    ledger: Ledger,
    strategy: Strategy,
    criteria: Sequence[Criterion],
    write_recipe: WriteRecipe,
    executor: Executor,
    name_child: NameChild = child_name,
    *,
    skip_above: float | None = None,
    test_gains: TestGains = untested,
) -> RunState:
    """Run Algorithm 1 from the state of the ledger to its end; returns the final state.

    Each iteration either proposes a generation (steps 1, 2a, 2b) or completes and closes the open
    one (2c, 2d); generation 0 is the foundation models. Finally the best model and the foundation
    models are scored on the held-out splits. Kinship is measured only for pairs that a decision
    reads, right before it.

    Args:
        ledger: has at least `RunStarted`.
        write_recipe: makes the recipe of a proposal from its parents.
        name_child: names a child from (generation, number, proposal).
        skip_above: merges whose parents have a higher kinship are skipped and replaced by others.
        test_gains: tests the significance of the best model's gains at the end.

    Raises:
        StoppedError: the run cannot continue; all finished work is recorded.
        PluginError: a strategy or criterion of another package failed; likewise.
    """
    while ledger.state.stop is None:
        generation = ledger.state.open_generation
        if generation is None:
            executor.prune(ledger.state)
            with blamed(strategy):
                pairs = strategy.pairs(ledger.state)
            measure(ledger, executor, pairs)
            merges = propose(ledger.state, strategy, pairs)
            merges = merges[: evaluations_left(criteria, ledger.state)]
            if not merges:
                break
            measure(ledger, executor, chain(*(all_pairs(merge.parents) for merge in merges)))
            offspring = named(ledger.state, merges, write_recipe, name_child)
            ledger.record(too_alike(offspring, skip_above, _of_all(strategy)) or offspring)
            continue
        work = executor.breed if generation.number else executor.score
        record_all(ledger, work(ledger.state.unscored))
        if generation.number:
            measure(ledger, executor, pairs_read(criteria, ledger.state))
        ledger.record(close(ledger.state, criteria))
    if not ledger.state.finished:
        for split in ledger.state.start.held_out_splits:
            record_all(ledger, executor.score_held_out(ledger.state.unscored_on(split), split))
        gains = test_gains(ledger.state) if ledger.state.gains is None else None
        if gains is not None:
            ledger.record(GainsTested(gains=gains))
        ledger.record(finish(ledger.state, criteria))
    executor.prune(ledger.state)
    return ledger.state


def measure(ledger: Ledger, executor: Executor, pairs: Iterable[Pair]) -> None:
    """Measure those `pairs` that were not measured yet."""
    state = ledger.state
    missing = state.unmeasured(pairs)
    if missing:
        models = sorted((state.models[name] for name in set(chain(*missing))), key=rank)
        record_all(ledger, executor.measure(models, missing))


def propose(state: RunState, strategy: Strategy, pairs: Iterable[Pair]) -> list[Proposal]:
    """The merges that the strategy proposes for the next generation.

    The strategy only gets the kinship of `pairs`, so that decisions do not depend on other
    measurements, such as those before an interruption or of another version.
    """
    rng = Random(derived_seed("strategy", state.start.seed, len(state.generations)))
    of_all = _of_all(strategy)
    with blamed(strategy):
        merges = tuple(strategy.propose(state, state.kinship.among(pairs), rng))
    return [
        proposal
        for proposal in merges
        # Guarantees termination if a strategy proposes skipped parents again.
        if (proposal.kind in of_all or frozenset(proposal.parents) not in state.given_up)
        and all(state.models[name].kept_out is None for name in proposal.parents)
    ]


def named(
    state: RunState, merges: Iterable[Proposal], write_recipe: WriteRecipe, name_child: NameChild
) -> GenerationProposed:
    """The proposed generation, with names, recipes and the kinship of the parents."""
    number = len(state.generations)
    candidates = tuple(
        Candidate(
            name=name_child(number, place, merge),
            proposal=merge.model_copy(update={"kinship": state.kinship.mean(merge.parents)}),
            recipe=write_recipe(merge, [state.models[name] for name in merge.parents]),
        )
        for place, merge in enumerate(merges, start=1)
    )
    return GenerationProposed(generation=number, candidates=candidates)


def _of_all(strategy: Strategy) -> frozenset[str]:
    return frozenset(kind.name for kind in strategy.kinds if kind.of_all)


def too_alike(
    offspring: GenerationProposed, above: float | None, of_all: Collection[str]
) -> MergesSkipped | None:
    """The proposed merges whose kinship is above the limit; None if there are none.

    Unknown or undefined kinship is not above it. Merges of the kinds `of_all` are never skipped.
    """
    skipped: dict[frozenset[str], SkippedMerge] = {}
    for proposal in (candidate.proposal for candidate in offspring.candidates):
        kinship = proposal.kinship
        if above is None or kinship is None or kinship <= above or proposal.kind in of_all:
            continue
        merge = SkippedMerge(
            generation=offspring.generation,
            kind=proposal.kind,
            parents=proposal.parents,
            kinship=kinship,
            above=above,
        )
        # A strategy can propose the same parents several times, with different weights.
        skipped.setdefault(frozenset(proposal.parents), merge)
    return MergesSkipped(merges=tuple(skipped.values())) if skipped else None


def close(state: RunState, criteria: Sequence[Criterion]) -> GenerationFinished:
    """The end of the open generation: the new pool S', and the first criterion that is reached.

    Criteria do not apply to generation 0.
    """
    number = state.generations[-1].number
    pool = tuple(model.name for model in state.pool)
    stop = first_reached(criteria, state) if number else None
    return GenerationFinished(generation=number, pool=pool, stop=stop)


def finish(state: RunState, criteria: Sequence[Criterion]) -> RunFinished:
    """The end of the run: the best model and why the search ended.

    Raises:
        ValueError: no model is scored.
    """
    if state.best is None:
        raise ValueError("no model of the run is scored")
    return RunFinished(best=state.best.name, stop=state.stop or _exhausted(state, criteria))


def _exhausted(state: RunState, criteria: Sequence[Criterion]) -> str:
    """Why there are no more proposals although no criterion is reached."""
    if evaluations_left(criteria, state) == 0:
        return "max_evaluations: no evaluation is left"
    reason = "exhausted: no pair is left to merge"
    if not state.skipped:
        return reason
    number, above = len(state.skipped), state.skipped[-1].above
    return f"{reason} but {number} skipped for a kinship above {above:g}"
