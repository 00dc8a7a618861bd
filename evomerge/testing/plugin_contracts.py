"""Contract tests of strategies and stopping criteria, built-in and of plug-ins.

They run on the states of whole runs over imagined models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from immutables import Map

from evomerge.config import Config
from evomerge.domain.events import GenerationFinished
from evomerge.domain.identity import derived_seed
from evomerge.domain.kinship import KinshipMatrix, KinshipReading, Metric, Pair, pair
from evomerge.domain.model import Model, Proposal
from evomerge.domain.scores import Scores, TaskScore, solved_items
from evomerge.domain.state import Entry, RunState, fold
from evomerge.imagined.world import ImaginedExecutor, MemoryLedger, imagine
from evomerge.stopping import Criterion
from evomerge.strategies.strategy import Strategy

FOUNDATION = ("ash", "birch", "cedar", "dogwood")
TASKS = ("one", "two", "three")

_RUNS: dict[tuple[type[Strategy], str], MemoryLedger] = {}


class Stated(KinshipMatrix):
    """Kinship readings of the stated pairs; reading another pair fails the test."""

    def between(self, a: str, b: str) -> float | None:
        """The kinship of a stated pair."""
        assert pair(a, b) in self.values, f"{a} and {b} are not among the stated pairs"
        return super().between(a, b)


class StrategyContract:
    """Fixture: `strategy`."""

    @pytest.fixture
    def run(self, strategy: Strategy) -> MemoryLedger:
        """A run of the strategy over imagined models, cached for all tests."""
        key = (type(strategy), strategy.model_dump_json())
        if key not in _RUNS:
            _RUNS[key] = run_of(strategy)
        return _RUNS[key]

    def test_it_proposes_merges_of_scored_models(
        self, strategy: Strategy, run: MemoryLedger
    ) -> None:
        kinds = {kind.name for kind in strategy.kinds}
        states = decisions(run.entries)
        for state in states:
            scored = {model.name for model in state.ranking}
            for proposal in proposed(strategy, state):
                assert set(proposal.parents) <= scored
                assert len(set(proposal.parents)) == len(proposal.parents)
                assert proposal.kind in kinds
                assert proposal.reason
        assert proposed(strategy, states[0]), "the first generation needs a merge"

    def test_the_same_state_gives_the_same_merges(
        self, strategy: Strategy, run: MemoryLedger
    ) -> None:
        """Independent of earlier calls, and after a resume from the journal."""
        states = decisions(run.entries)
        first = [proposed(strategy, state) for state in states]
        assert [proposed(strategy, state) for state in reversed(states)] == first[::-1]
        resumed = decisions(
            [Entry.model_validate_json(each.model_dump_json()) for each in run.entries]
        )
        fresh = type(strategy).model_validate_json(strategy.model_dump_json())
        assert [proposed(fresh, state) for state in resumed] == first

    def test_it_leaves_the_state_and_itself_as_they_are(
        self, strategy: Strategy, run: MemoryLedger
    ) -> None:
        before = strategy.model_dump_json()
        for state in decisions(run.entries):
            kept = replace(state)
            proposed(strategy, state)
            assert state == kept
        assert strategy.model_dump_json() == before

    def test_it_reads_the_kinship_of_the_pairs_that_it_states(
        self, strategy: Strategy, run: MemoryLedger
    ) -> None:
        for state in decisions(run.entries):
            stated = strategy.pairs(state)
            scored = {model.name for model in state.ranking}
            assert {name for each in stated for name in each} <= scored
            strategy.propose(state, Stated(Metric.PCC, known(stated)), Random(0))

    def test_it_makes_no_more_children_than_it_says(
        self, strategy: Strategy, run: MemoryLedger
    ) -> None:
        for state in decisions(run.entries):
            assert len(proposed(strategy, state)) <= strategy.most_children(len(FOUNDATION))

    def test_it_makes_no_child_twice(self, run: MemoryLedger) -> None:
        made = [
            (frozenset(merge.parents), merge.coefficients)
            for model in run.state.models.values()
            if model.candidate
            for merge in [model.candidate.proposal]
        ]
        assert len(set(made)) == len(made)

    def test_it_gives_up_what_is_skipped(self, strategy: Strategy) -> None:
        """A run in which all parents are too similar ends."""
        state = run_of(strategy, skip_if_kinship_above=-1.0).state
        assert state.finished
        judged = {kind.name for kind in strategy.kinds if not kind.of_all}
        assert not any(model.kind in judged for model in state.models.values())

    def test_every_option_says_whether_it_can_change_a_result(self, strategy: Strategy) -> None:
        for name, field in type(strategy).model_fields.items():
            extra: Any = field.json_schema_extra or {}
            section = hasattr(field.annotation, "model_fields")
            assert section or extra.get("role") in {"identity", "runtime"}, name


class CriterionContract:
    """Fixture: `criterion`."""

    def test_it_says_why_or_nothing_and_says_so_again(self, criterion: Criterion) -> None:
        for state in decisions(_any_run().entries)[1:]:
            why = criterion.reached(state)
            assert why is None or why.strip()
            assert criterion.reached(state) == why

    def test_it_reads_the_kinship_of_the_pairs_that_it_states(self, criterion: Criterion) -> None:
        for state in decisions(_any_run().entries)[1:]:
            everything = _with_kinship(state, [*known_pairs(state)])
            stated = _with_kinship(state, criterion.pairs(state))
            assert criterion.reached(stated) == criterion.reached(everything)

    def test_a_config_keeps_it(self, criterion: Criterion) -> None:
        ((_, options),) = criterion.model_dump(mode="json").items()
        main = type(criterion).main
        tree = {main: options} if main else {} if options is True else options
        assert type(criterion).model_validate({"name": criterion.name, **tree}) == criterion


def decisions(entries: Sequence[Entry]) -> list[RunState]:
    """The states before each generation is proposed."""
    ends = [n for n, each in enumerate(entries, 1) if isinstance(each.event, GenerationFinished)]
    return [fold(entries[:end]) for end in ends]


def proposed(strategy: Strategy, state: RunState) -> tuple[Proposal, ...]:
    """The proposals of a strategy in a state, called as the loop does."""
    rng = Random(derived_seed("contract", len(state.generations)))
    return strategy.propose(state, KinshipMatrix(Metric.PCC, known(strategy.pairs(state))), rng)


def run_of(strategy: Strategy, **merge: Any) -> MemoryLedger:
    """A run over imagined models of at most six generations or 30 models."""
    config = Config.model_validate(
        {
            "run": {"name": "contract"},
            "base_model": "base",
            "foundation_models": list(FOUNDATION),
            "strategy": strategy,
            "merge": {"method": "linear", **merge},
            "evaluation": {"tasks": list(TASKS)},
            "stopping": [{"max_generations": 6}, {"max_evaluations": 30}],
        }
    )
    ledger = MemoryLedger()
    imagine(config, ImaginedExecutor(_scores, _kinship), FOUNDATION, ledger)
    return ledger


def known(pairs: Sequence[Pair]) -> dict[Pair, float | None]:
    """The kinship of imagined models by pair; every tenth is undefined."""
    drawn = {pair(*each): derived_seed("kinship", *pair(*each)) % 1000 for each in pairs}
    return {each: None if value % 10 == 0 else value / 1000 for each, value in drawn.items()}


def known_pairs(state: RunState) -> list[Pair]:
    """All pairs of the scored models."""
    names = [model.name for model in state.ranking]
    return [pair(a, b) for place, a in enumerate(names) for b in names[:place]]


def _any_run() -> MemoryLedger:
    from evomerge.strategies.kinship import KinshipGuided

    return run_of(KinshipGuided())


def _with_kinship(state: RunState, pairs: Sequence[Pair]) -> RunState:
    measured = known(pairs).items()
    readings = {each: KinshipReading(models=each, pcc=value) for each, value in measured}
    return replace(state, readings=Map(readings))


def _kinship(a: Model, b: Model) -> KinshipReading:
    names = pair(a.name, b.name)
    return KinshipReading(models=names, pcc=known([names])[names])


def _scores(model: Model) -> Scores:
    tasks = []
    for task in TASKS:
        rng = Random(derived_seed("score", model.name, task))
        right = [rng.random() < 0.3 + 0.1 * min(model.generation, 5) for _ in range(20)]
        tasks.append(
            TaskScore(
                task=task,
                metric="acc",
                value=5.0 * sum(right),
                samples=20,
                solved=solved_items(right),
            )
        )
    return Scores(evaluation_id="contract", tasks=tuple(tasks))
