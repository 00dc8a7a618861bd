"""One search of Algorithm 1 on a synthetic landscape, and what it brought by its evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.config import Config
from evomerge.domain.kinship import KinshipReading, kinship_of
from evomerge.domain.model import Model
from evomerge.domain.population import rank
from evomerge.domain.scores import Scores, TaskScore, solved_items
from evomerge.domain.state import RunState
from evomerge.imagined import ImaginedExecutor, imagine
from evomerge.simulation.landscape import SyntheticLandscape, Vector, merged


@dataclass(frozen=True)
class Outcome:
    """What a search had after each of its evaluations.

    Attributes:
        chosen: the true score, by the config's objective, of the model that looked best after 1, 2,
            … evaluations.
        weakest: the true score of that model on its weakest task.
        seen: the score that the search saw of it; its excess over `chosen` is the winner's curse.
    """

    chosen: tuple[float, ...]
    weakest: tuple[float, ...]
    seen: tuple[float, ...]


def simulate(config: Config, landscape: SyntheticLandscape) -> Outcome:
    """Run the config's strategy and merge method over `landscape`, under the landscape's seed.

    The config's own models and tasks are not looked at.

    Raises:
        ValueError: the simulation has no such merge method.
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
    """The vectors of a run's models, merged when they are first asked for."""

    def __init__(self, landscape: SyntheticLandscape) -> None:
        self.landscape = landscape
        self._vectors = dict(zip(landscape.names, landscape.foundation, strict=True))

    def vector(self, model: Model) -> Vector:
        """Of a foundation model, or of a child whose parents were asked for before."""
        if model.content_id not in self._vectors and model.candidate is not None:
            recipe = model.candidate.recipe
            parents = [self._vectors[each.model] for each in recipe.parents]
            self._vectors[recipe.id] = merged(recipe, parents)
        return self._vectors[model.content_id]

    def scores(self, model: Model) -> Scores:
        """On the items of the selection."""
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
        """By its definition; the base is the origin."""
        return kinship_of((a.name, b.name), self.vector(a).tolist(), self.vector(b).tolist())
