"""Runs to report on: the paper's, one with hostile names, a long one; all without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import pytest

from evomerge.domain.state import Entry, RunState
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import replay, replay_config
from evomerge.store.recorded import Recorded
from evomerge.views.run import RunView, run_view

PAPER = Path(__file__).parents[2] / "golden" / "paper"
HOSTILE = ('"><script>alert(1)</script>', "$x^2$ & <b>", "</title></svg>", "ü\u202e{{ 7*7 }}")


@dataclass(frozen=True)
class Subject:
    """A run to report on."""

    name: str
    entries: tuple[Entry, ...]
    state: RunState
    environment: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def view(self) -> RunView:
        return run_view(self.name, self.entries, self.state, environment=self.environment)


def subject_of(world: Landscape, *, greedy: bool = False, k: int = 3, name: str = "run") -> Subject:
    config = replay_config(
        world,
        strategy={"name": "greedy" if greedy else "kinship", "k": k},
        stopping=[{"max_generations": world.max_generations}],
    )
    result = replay(world, config)
    recorded = {"recorded": Recorded.of(world).model_dump(mode="json")}
    return Subject(name, result.entries, result.state, environment=recorded)


@pytest.fixture(scope="session")
def paper() -> Subject:
    """The kinship-guided arm of Table 2."""
    return subject_of(
        Landscape.model_validate_json((PAPER / "landscape-kinship.json").read_text()), name="paper"
    )


@pytest.fixture(scope="session")
def hostile() -> Subject:
    """A run whose names want to be markup."""
    children = [
        {"model": f"{a} × {b}", "parents": [a, b], "score": 50.0 + index}
        for index, (a, b) in enumerate(
            (a, b) for i, a in enumerate(HOSTILE) for b in HOSTILE[i + 1 :]
        )
    ]
    kinship = [
        {"models": [a, b], "value": 0.1 * i}
        for i, a in enumerate(HOSTILE)
        for b in HOSTILE[i + 1 :]
    ]
    world = {
        "format": 1, "name": HOSTILE[0], "max_generations": 1, "note": HOSTILE[2],
        "foundation": dict.fromkeys(HOSTILE, 40.0), "children": children, "kinship": kinship,
    }  # fmt: skip
    return subject_of(Landscape.model_validate(world), greedy=True, name=HOSTILE[0])


def long_run(generations: int, k: int = 4, seed: int = 1) -> Subject:
    """A greedy run with `k` children a generation, made up as it goes."""
    from evomerge.domain.events import (
        GenerationFinished,
        GenerationProposed,
        KinshipMeasured,
        ModelMerged,
        ModelScored,
        RunFinished,
        RunStarted,
    )
    from evomerge.domain.kinship import KinshipReading, Metric, all_pairs, pair
    from evomerge.domain.model import Candidate, Foundation, Proposal
    from evomerge.domain.recipe import Ingredient, Recipe
    from evomerge.domain.scores import Scores, TaskScore
    from evomerge.domain.state import apply

    rng, entries, state = Random(seed), [], RunState()

    def tell(event):
        nonlocal state
        entries.append(Entry(at=1.7e9 + 60.0 * len(entries), event=event))
        state = apply(state, entries[-1])

    def score(name, value):
        tasks = tuple(
            TaskScore(task=f"task-{n}", metric="acc", value=value, stderr=1.5, samples=200)
            for n in range(4)
        )
        scores = Scores(evaluation_id="evaluation1-0", tasks=tasks)
        tell(ModelScored(model=name, scores=scores, seconds=20.0))

    def close(number):
        names = [model.name for model in state.ranking]
        fresh = state.unmeasured(all_pairs(names))
        readings = tuple(
            KinshipReading(models=p, pcc=min(0.99, rng.random() * 0.2 + number / generations * 0.8))
            for p in fresh
        )
        tell(KinshipMeasured(readings=readings, seconds=3.0))
        tell(GenerationFinished(generation=number, pool=tuple(m.name for m in state.pool)))

    base = Foundation(name="base", source="base", content_id="base", vocabulary=9)
    foundation = tuple(
        Foundation(name=n, source=n, content_id=n, vocabulary=9) for n in ("ash", "birch", "cedar")
    )
    tell(RunStarted(name="long", seed=1, k=k, strategy="greedy", metric=Metric.PCC, base=base,
                    foundation=foundation, config_id="c"))  # fmt: skip
    for each in foundation:
        score(each.name, 40 + rng.random())
    close(0)
    for number in range(1, generations + 1):
        candidates = []
        for place in range(k):
            exploring = place == k - 1
            among = state.ranking if exploring else state.pool
            parents = tuple(model.name for model in rng.sample(among, 2))
            proposal = Proposal(
                kind="exploration" if exploring else "greedy",
                parents=parents,
                mean_score=40.0,
                kinship=state.readings[pair(*parents)].pcc,
                reason="as told",
            )
            recipe = Recipe(method="linear", engine="test", base="base", seed=number * 100 + place,
                            parents=tuple(Ingredient(model=p) for p in parents))  # fmt: skip
            name = f"model-{number}-{'exp' if exploring else place + 1}"
            candidates.append(Candidate(name=name, proposal=proposal, recipe=recipe))
        tell(GenerationProposed(generation=number, candidates=tuple(candidates)))
        for candidate in candidates:
            tell(ModelMerged(model=candidate.name, seconds=9.0))
            score(candidate.name, min(99.0, 40 + 40 * number / generations + rng.gauss(0, 2)))
        close(number)
    tell(RunFinished(best=state.best.name, stop="max_generations: done"))
    return Subject("long", tuple(entries), state)


@pytest.fixture(scope="session")
def long() -> Subject:
    """163 models in 40 generations."""
    return long_run(40)
