"""Algorithm 1 of arXiv 2410.12613 over the ports; `domain/` and `strategies/` hold its steps.

Every step asks the state what is still to be done, so that an interrupted run goes on by calling
`evolve` again: nothing that the ledger holds is done twice.
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
from evomerge.ports import Executor, Ledger, record_all
from evomerge.stopping import Criterion, evaluations_left, first_reached
from evomerge.strategies import Strategy

WriteRecipe = Callable[[Proposal, Sequence[Model]], Recipe]
TestGains = Callable[[RunState], Gains | None]
NameChild = Callable[[int, int, Proposal], str]


def child_name(generation: int, number: int, proposal: Proposal) -> str:
    """`model-<generation>-<number>`, and `model-<generation>-exp` for the exploration child.

    Additive exploration children, of which there are several, keep their number too.
    """
    if proposal.kind != "exploration":
        return f"model-{generation}-{number}"
    return f"model-{generation}-exp" + (f"-{number}" if proposal.coefficients else "")


def untested(state: RunState) -> None:
    """For worlds without per-item results: there is nothing to test."""


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
    """Run Algorithm 1 from wherever the ledger stands to its end; the state at the end.

    Each turn of the loop either proposes a generation (steps 1, 2a, 2b) or does what is left of
    the open one and closes it (2c, 2d); generation 0 is the foundation models. At the end the best
    model and the foundation models are scored on what the search never saw. The kinship that a
    decision reads is measured right before it, and that of no other pair.

    Args:
        skip_above: merges of parents of a higher kinship are skipped, and others chosen for them.

    Raises:
        StoppedError: the run cannot go on now; the ledger holds everything done so far.
    """
    while ledger.state.stop is None:
        generation = ledger.state.open_generation
        if generation is None:
            executor.prune(ledger.state)
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
            measure(ledger, executor, chain(*(each.pairs(ledger.state) for each in criteria)))
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
    """Have those of `pairs` measured that were not yet."""
    state = ledger.state
    missing = state.unmeasured(pairs)
    if missing:
        models = sorted((state.models[name] for name in set(chain(*missing))), key=rank)
        record_all(ledger, executor.measure(models, missing))


def propose(state: RunState, strategy: Strategy, pairs: Iterable[Pair]) -> list[Proposal]:
    """The merges of the next generation.

    The strategy sees the kinship of the pairs that it stated and of no others: what else was
    measured meanwhile, before an interruption or by another version, changes no decision.
    """
    rng = Random(derived_seed("strategy", state.start.seed, len(state.generations)))
    of_all = _of_all(strategy)
    return [
        proposal
        for proposal in strategy.propose(state, state.kinship.among(pairs), rng)
        # Whatever a strategy remembers: a skipped pair is never proposed again, so this ends.
        if proposal.kind in of_all or frozenset(proposal.parents) not in state.given_up
    ]


def named(
    state: RunState, merges: Iterable[Proposal], write_recipe: WriteRecipe, name_child: NameChild
) -> GenerationProposed:
    """The next generation: its children named, with their recipes and their parents' kinship."""
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
    """The proposed merges whose kinship is above the limit; None where there is none.

    A kinship that is unknown or undefined is above no limit. Merges of the kinds `of_all` are for
    the weights' sake and not judged.
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
        # Additive exploration proposes the same parents several times.
        skipped.setdefault(frozenset(proposal.parents), merge)
    return MergesSkipped(merges=tuple(skipped.values())) if skipped else None


def close(state: RunState, criteria: Sequence[Criterion]) -> GenerationFinished:
    """The end of the open generation: S' = top k of M, and whether a criterion is reached.

    Generation 0 only scores the foundation models; no criterion applies to it.
    """
    number = state.generations[-1].number
    pool = tuple(model.name for model in state.pool)
    stop = first_reached(criteria, state) if number else None
    return GenerationFinished(generation=number, pool=pool, stop=stop)


def finish(state: RunState, criteria: Sequence[Criterion]) -> RunFinished:
    """The end of the run: the best model of M, and why the search ended."""
    if state.best is None:
        raise ValueError("a run without a scored model has no result")
    return RunFinished(best=state.best.name, stop=state.stop or _exhausted(state, criteria))


def _exhausted(state: RunState, criteria: Sequence[Criterion]) -> str:
    """Why nothing can follow although no criterion is reached."""
    if evaluations_left(criteria, state) == 0:
        return "max_evaluations: no evaluation is left"
    reason = "exhausted: no pair is left to merge"
    if not state.skipped:
        return reason
    number, above = len(state.skipped), state.skipped[-1].above
    return f"{reason} but {number} skipped for a kinship above {above:g}"
