"""Runs made by hand: what would stand in a journal, told in a few words."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import pytest
from rich.console import Console, RenderableType

from evomerge.domain.events import (
    CandidateFailed,
    Event,
    GenerationFinished,
    GenerationProposed,
    KinshipMeasured,
    ModelMerged,
    ModelScored,
    RunFinished,
    RunStarted,
)
from evomerge.domain.kinship import KinshipReading, Metric, all_pairs
from evomerge.domain.model import Candidate, Failure, Foundation, Proposal
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.domain.scores import Scores, TaskScore
from evomerge.domain.state import Entry, RunState, apply

TASKS = ("reverse", "sort", "copy", "count")
START = 1_700_000_000.0


class Story:
    """A run that is told event by event; `state` is where it stands."""

    def __init__(
        self,
        foundation: Iterable[str] = ("alpha", "beta", "gamma", "delta"),
        k: int = 3,
        name: str = "tiny",
        tasks: Iterable[str] = TASKS,
        metric: Metric = Metric.PCC,
        strategy: str = "kinship",
    ) -> None:
        self.entries: list[Entry] = []
        self.state = RunState()
        self.tasks = tuple(tasks)
        self.tell(
            RunStarted(
                name=name,
                seed=7,
                k=k,
                strategy=strategy,
                metric=metric,
                base=_foundation("base"),
                foundation=tuple(_foundation(each) for each in foundation),
                config_id="config1-00",
            ),
            after=0,
        )

    def tell(self, event: Event, after: float = 1.0) -> Event:
        """One more event, `after` seconds after the last one."""
        at = self.entries[-1].at + after if self.entries else START
        self.entries.append(Entry(at=at, event=event))
        self.state = apply(self.state, self.entries[-1])
        return event

    def scored(
        self, model: str, value: float, *, stderr: float | None = 1.2, reused: bool = False
    ) -> Event:
        """A model scored `value` on the mean of its tasks."""
        spread = [8.0, -8.0, 3.0, -3.0, *[0.0] * len(self.tasks)]
        if len(self.tasks) % 2 or not 8 <= value <= 92:
            spread = [0.0] * len(self.tasks)
        scores = Scores(
            evaluation_id="evaluation1-00",
            tasks=tuple(
                TaskScore(
                    task=task,
                    metric="acc",
                    value=value + offset,
                    stderr=None if stderr is None else stderr * len(self.tasks) ** 0.5,
                    samples=200,
                )
                for task, offset in zip(self.tasks, spread, strict=False)
            ),
        )
        return self.tell(
            ModelScored(model=model, scores=scores, seconds=12.0, reused=reused), after=12
        )

    def merged(self, model: str, *, reused: bool = False) -> Event:
        """The weights of a model are there."""
        return self.tell(ModelMerged(model=model, seconds=2.5, reused=reused), after=2.5)

    def failed(self, model: str, reason: str = "NaN in lm_head.weight") -> Event:
        """A candidate failed for good."""
        failure = Failure(stage="merge", reason=reason, attempts=2)
        return self.tell(CandidateFailed(model=model, failure=failure))

    def measured(self, value: float | None = 0.25) -> Event:
        """The kinship of every pair that was not measured yet, a little different each."""
        readings = tuple(
            KinshipReading(
                models=pair,
                pcc=None if value is None else value + 0.01 * place,
                cosine=value,
                euclidean=41.5 + place,
            )
            for place, pair in enumerate(self.state.unmeasured(all_pairs(list(self.state.models))))
        )
        return self.tell(KinshipMeasured(readings=readings, seconds=0.8))

    def proposed(
        self, *parents: tuple[str, str], exploration: tuple[str, str] | None = None
    ) -> Event:
        """The next generation: one greedy merge per pair, and perhaps an exploration."""
        number = len(self.state.generations)
        candidates = [
            self._candidate(
                f"model-{number}-{place}", pair, f"pair {place} of the pool by mean score"
            )
            for place, pair in enumerate(parents, start=1)
        ]
        if exploration is not None:
            why = (
                f"exploration: {exploration[0]} is the best model, {exploration[1]} "
                "its least related of 3 candidates"
            )
            candidates.append(self._candidate(f"model-{number}-exp", exploration, why))
        return self.tell(GenerationProposed(generation=number, candidates=tuple(candidates)))

    def closed(self, stop: str | None = None) -> Event:
        """The open generation is done."""
        number = len(self.state.generations) - 1
        pool = tuple(model.name for model in self.state.pool)
        return self.tell(GenerationFinished(generation=number, pool=pool, stop=stop))

    def ended(self) -> Event:
        """The run is done."""
        assert self.state.best is not None
        return self.tell(
            RunFinished(best=self.state.best.name, stop=self.state.stop or "exhausted")
        )

    def _candidate(self, name: str, parents: tuple[str, str], reason: str) -> Candidate:
        models = [self.state.models[parent] for parent in parents]
        return Candidate(
            name=name,
            proposal=Proposal(
                kind="exploration" if name.endswith("exp") else "greedy",
                parents=parents,
                mean_score=sum(model.score or 0.0 for model in models) / len(models),
                kinship=self.state.kinship.between(*parents),
                reason=reason,
            ),
            recipe=Recipe(
                method="slerp",
                parents=tuple(Ingredient(model=model.content_id) for model in models),
                base=models[0].content_id,
                parameters={"t": [{"filter": "mlp", "value": [1, 0.5, 0]}, {"value": 0.5}]},
                dtype="bfloat16",
                engine="mergekit 0.1.5",
            ),
        )


def _foundation(name: str) -> Foundation:
    return Foundation(
        name=name, source=f"models/{name}", content_id=f"files1-{name}", vocabulary=64
    )


def first_generation(story: Story) -> Story:
    """Four foundation models and their six children, all scored but one that failed."""
    for name, score in zip(story.state.models, (41.0, 38.5, 44.25, 36.0), strict=True):
        story.scored(name, score)
    story.measured(0.02)
    story.closed()
    names = list(story.state.models)
    story.proposed(*combinations(names, 2))
    children = [f"model-1-{number}" for number in range(1, 7)]
    for child, score in zip(children, (45.5, 52.0, 39.9, 47.0, 36.25, 0.0), strict=True):
        if child == "model-1-6":
            story.failed(child)
            continue
        story.merged(child, reused=child == "model-1-2")
        story.scored(child, score, reused=child == "model-1-2")
    story.measured(0.4)
    story.closed()
    return story


def second_generation(story: Story) -> Story:
    """Proposed after the first, with an exploration; the first child is scored."""
    story.proposed(
        ("model-1-2", "model-1-4"),
        ("model-1-2", "model-1-1"),
        ("model-1-4", "model-1-1"),
        exploration=("model-1-2", list(story.state.models)[3]),
    )
    story.merged("model-2-1")
    story.scored("model-2-1", 55.1)
    story.merged("model-2-2")
    return story


def whole_run(story: Story) -> Story:
    """Both generations to their end."""
    second_generation(first_generation(story))
    story.scored("model-2-2", 51.0)
    for name, score in (("model-2-3", 49.0), ("model-2-exp", 58.4)):
        story.merged(name)
        story.scored(name, score)
    story.measured(0.55)
    story.closed("max_generations: 2 generations done")
    story.ended()
    return story


def drawn(renderable: RenderableType, width: int, height: int = 50) -> str:
    """What a terminal without colours would show."""
    console = Console(
        width=width, height=height, color_system=None, force_terminal=True, highlight=False
    )
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.fixture
def finished() -> Story:
    """A run of two generations at its end."""
    return whole_run(Story())


@pytest.fixture
def working() -> Story:
    """A run in the middle of its second generation."""
    return second_generation(first_generation(Story()))
