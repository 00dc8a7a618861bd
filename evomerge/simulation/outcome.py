"""One simulated search, and its result after each evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.config import Config
from evomerge.domain.kinship import KinshipReading, kinship_of
from evomerge.domain.model import Model
from evomerge.domain.population import rank
from evomerge.domain.scores import Scores, TaskScore, solved_items
from evomerge.domain.state import RunState
from evomerge.imagined.world import ImaginedExecutor, imagine
from evomerge.simulation.landscape import SyntheticLandscape, Vector, merged


@dataclass(frozen=True)
class Outcome:
    """The best-looking model after 1, 2, … evaluations. Scores are in points.

    Attributes:
        chosen: its true score by the config's objective.
        weakest: its true score on its weakest task.
        seen: its observed score; `seen` minus `chosen` is the winner's curse.
    """

    chosen: tuple[float, ...]
    weakest: tuple[float, ...]
    seen: tuple[float, ...]


def simulate(config: Config, landscape: SyntheticLandscape) -> Outcome:
    """Run the config's strategy and merge method on `landscape`, with the landscape's seed.

    The config's models and tasks are ignored.

    Raises:
        ValueError: the merge method is not supported.
    """
    seeded = config.run.model_copy(update={"seed": landscape.seed})
    population = _Population(landscape)
    executor = ImaginedExecutor(population.scores, population.kinship)
    state = imagine(config.model_copy(update={"run": seeded}), executor, landscape.names)
    return _outcome(state, population)


def _outcome(state: RunState, population: _Population) -> Outcome:
    chosen, weakest, seen = [], [], []
    best: Model | None = None
    for model in state.models.values():
        if model.score is None or model.scores is None:
            continue
        if best is None or rank(model)[:3] < rank(best)[:3]:
            best = model
            true = population.landscape.true_scores(population.vector(model)).tolist()
            tasks = model.scores.tasks
            names, weights = [task.task for task in tasks], [task.weight for task in tasks]
            objective = model.objective().over(names, weights)
            value = 0.0 if objective is None else objective.value(true)
        chosen.append(value)
        weakest.append(min(true))
        seen.append(best.score or 0.0)
    return Outcome(tuple(chosen), tuple(weakest), tuple(seen))


class _Population:
    """The vectors of a run's models, merged when first needed."""

    def __init__(self, landscape: SyntheticLandscape) -> None:
        self.landscape = landscape
        self._vectors = dict(zip(landscape.names, landscape.foundation, strict=True))

    def vector(self, model: Model) -> Vector:
        """The vector of a foundation model, or of a child whose parents' vectors are known."""
        if model.content_id not in self._vectors and model.candidate is not None:
            recipe = model.candidate.recipe
            parents = [self._vectors[each.model] for each in recipe.parents]
            self._vectors[recipe.id] = merged(recipe, parents)
        return self._vectors[model.content_id]

    def scores(self, model: Model) -> Scores:
        """Evaluate a model on the items of the landscape."""
        right = self.landscape.answers(self.vector(model))
        tasks = tuple(
            TaskScore(
                task=name,
                metric="acc",
                value=100.0 * float(row.mean()),
                samples=row.size,
                solved=solved_items(row.tolist()),
            )
            for name, row in zip(self.landscape.tasks, right, strict=True)
        )
        return Scores(evaluation_id="simulation", tasks=tasks)

    def kinship(self, a: Model, b: Model) -> KinshipReading:
        """Kinship with the base at the origin."""
        return kinship_of((a.name, b.name), self.vector(a).tolist(), self.vector(b).tolist())
