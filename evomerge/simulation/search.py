"""One search of Algorithm 1 on a synthetic landscape, and what it brought by its evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evomerge.breeding import Breeding
from evomerge.config import Config
from evomerge.domain.events import Event, KinshipMeasured, ModelMerged, ModelScored, RunStarted
from evomerge.domain.identity import derived_seed
from evomerge.domain.kinship import KinshipReading, Pair
from evomerge.domain.model import Foundation, Model
from evomerge.domain.scores import Part, Scores, TaskScore, solved_items
from evomerge.domain.state import RunState
from evomerge.domain.stopping import Criterion
from evomerge.evolution import evolve
from evomerge.replay import MemoryLedger
from evomerge.simulation.world import Vector, World, merged
from evomerge.strategies import candidates, strategy_for


@dataclass(frozen=True)
class Outcome:
    """What a search had after each of its evaluations.

    Attributes:
        chosen: the true mean score of the model that looked best, after 1, 2, … evaluations.
        weakest: the true score of that model on its weakest task.
        seen: the score that the search saw of it; its excess over `chosen` is the winner's curse.
    """

    chosen: tuple[float, ...]
    weakest: tuple[float, ...]
    seen: tuple[float, ...]


def simulate(config: Config, world: World, criteria: Sequence[Criterion]) -> Outcome:
    """Run the config's strategy and merge method over `world`.

    The config's own models and tasks are not looked at.

    Raises:
        ValueError: the simulation has no such merge method.
    """
    names = [f"model-{number}" for number in range(1, world.settings.models + 1)]
    foundation = tuple(
        Foundation(name=name, source=name, content_id=name, vocabulary=1) for name in names
    )
    base = Foundation(name="base", source="base", content_id="base", vocabulary=1)
    ledger = MemoryLedger()
    ledger.record(
        RunStarted(
            name="simulation",
            seed=world.seed,
            k=config.strategy.k,
            strategy=config.strategy.name,
            metric=config.kinship.metric,
            base=base,
            foundation=foundation,
            config_id="simulation",
            candidates=candidates(config.strategy),
            pool=config.strategy.pool,
        )
    )
    breeding = Breeding(config.merge, world.seed, base, foundation, "simulation")
    executor = _Imagined(world, dict(zip(names, world.foundation, strict=True)))
    evolve(ledger, strategy_for(config.strategy), criteria, breeding.recipe, executor)
    return _outcome(ledger.state, executor)


def _outcome(state: RunState, executor: _Imagined) -> Outcome:
    chosen, weakest, seen = [], [], []
    best: Model | None = None
    for model in state.models.values():
        if model.score is None:
            continue
        if best is None or model.score > (best.score or 0.0):
            best = model
            true = executor.world.true_scores(executor.vectors[model.content_id])
        chosen.append(float(true.mean()))
        weakest.append(float(true.min()))
        seen.append(best.score or 0.0)
    return Outcome(tuple(chosen), tuple(weakest), tuple(seen))


class _Imagined:
    """An executor whose models are vectors."""

    def __init__(self, world: World, vectors: dict[str, Vector]) -> None:
        self.world = world
        self.vectors = vectors

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Score each model on the items of the selection."""
        for model in foundation:
            yield self._scored(model)

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Merge and score."""
        for model in offspring:
            if model.candidate is not None:
                recipe = model.candidate.recipe
                parents = [self.vectors[each.model] for each in recipe.parents]
                self.vectors[recipe.id] = merged(recipe, parents)
            yield ModelMerged(model=model.name, seconds=0.0)
            yield self._scored(model)

    def _scored(self, model: Model) -> ModelScored:
        answers = self.world.answers(self.vectors[model.content_id])
        tasks = tuple(
            TaskScore(
                task=name,
                metric="acc",
                value=100.0 * float(row.mean()),
                samples=row.size,
                solved=solved_items(row.tolist()),
            )
            for name, row in zip(self.world.tasks, answers, strict=True)
        )
        scores = Scores(evaluation_id="simulation", tasks=tasks)
        return ModelScored(model=model.name, scores=scores, seconds=0.0)

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """Kinship of all pairs by its definition, from one Gram matrix; the base is the origin."""
        ids = {model.name: model.content_id for model in models}
        names = [*dict.fromkeys(name for pair in pairs for name in pair)]
        rows = np.stack([self.vectors[ids[name]] for name in names]) if names else np.empty((0, 1))
        centred = rows - rows.mean(axis=1, keepdims=True)
        cosine, pcc = _cosines(rows), _cosines(centred)
        place = {name: row for row, name in enumerate(names)}
        readings = []
        for pair in pairs:
            a, b = place[pair[0]], place[pair[1]]
            distance = float(np.linalg.norm(rows[a] - rows[b]))
            readings.append(
                KinshipReading(
                    models=pair,
                    pcc=float(pcc[a, b]),
                    cosine=float(cosine[a, b]),
                    euclidean=distance,
                )
            )
        yield KinshipMeasured(readings=tuple(readings), seconds=0.0)

    def confirm(self, finalists: Sequence[Model], part: Part) -> Iterator[Event]:
        """An imagined score has no items to hold out."""
        return iter(())

    def prune(self, state: RunState) -> None:
        """There is nothing to let go."""


def _cosines(rows: Vector) -> Vector:
    norms = np.linalg.norm(rows, axis=1)
    return np.asarray(np.clip(rows @ rows.T / np.outer(norms, norms), -1.0, 1.0))


def seeds(count: int, first: int = 0) -> Iterator[int]:
    """The seeds of `count` landscapes."""
    for number in range(count):
        yield derived_seed("simulation", first, number)
