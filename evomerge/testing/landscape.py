"""Models that are vectors: a whole evolution in milliseconds, with real files and no torch.

A model is a folder with `weights.bin` (a name that retention prunes): its delta from the base at
the origin, as JSON. A merge is the mean of its parents plus a little of what they differ in, the
score is how near the vector is to a hidden optimum, and kinship is computed from the vectors, so
that a landscape run obeys the same laws as a real one.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from evomerge.domain.errors import CandidateError
from evomerge.domain.identity import content_id
from evomerge.domain.kinship import (
    KinshipReading,
    Pair,
    kinship_of,
)
from evomerge.domain.model import Foundation
from evomerge.domain.recipe import Recipe
from evomerge.domain.scores import Part, Scores, TaskScore
from evomerge.ports import Progress
from evomerge.store.samples import samples_file

VECTOR = "weights.bin"
DIMENSIONS = 12
METRIC = "near"
_TASKS = 3
_ITEMS = 100


def make_foundation(folder: Path, name: str, seed: int) -> Foundation:
    """Write a foundation model into `folder` and describe it; the same seed, the same model."""
    rng = Random(seed)
    vector = [rng.gauss(0.0, 1.0) for _ in range(DIMENSIONS)]
    _write_once(folder, vector)
    return Foundation(
        name=name, source=str(folder), content_id=content_id("vector", 1, vector), vocabulary=1
    )


def make_base(folder: Path) -> Foundation:
    """Write the base model, the origin, into `folder`."""
    vector = [0.0] * DIMENSIONS
    _write_once(folder, vector)
    return Foundation(
        name="base", source=str(folder), content_id=content_id("vector", 1, vector), vocabulary=1
    )


def _write_once(folder: Path, vector: list[float]) -> None:
    """Foundation models are there before a run starts; a resumed run must not touch them."""
    path, text = folder / VECTOR, json.dumps(vector)
    if not path.is_file() or path.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read_vector(folder: Path) -> list[float]:
    """The vector of a model.

    Raises:
        CandidateError: the folder holds none, or a component is not finite.
    """
    try:
        vector = [float(value) for value in json.loads((folder / VECTOR).read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise CandidateError(f"{folder / VECTOR}: not a vector") from error
    if not all(math.isfinite(value) for value in vector):
        raise CandidateError(f"{folder / VECTOR}: a component is not finite")
    return vector


class LandscapeMerger:
    """Averages parents in the proportion 0.6 : 0.4, the first one first, then overshoots.

    Parents with a weight of their own are added up with these weights instead.
    """

    engine = "landscape 1"

    def merge(
        self, recipe: Recipe, inputs: Mapping[str, Path], into: Path, progress: Progress
    ) -> None:
        """Write the child's vector; a seeded recipe adds noise that depends on its seed only."""
        child = _child(recipe, [read_vector(inputs[parent.model]) for parent in recipe.parents])
        (into / VECTOR).write_text(json.dumps(child))
        (into / "recipe.json").write_text(recipe.model_dump_json())
        progress(1, 1)

    def close(self) -> None:
        """Nothing was started."""


def _child(recipe: Recipe, parents: Sequence[Sequence[float]]) -> list[float]:
    overshoot, weights = _weights(recipe)
    noise = Random(recipe.seed or 0)
    return [
        overshoot * math.fsum(w * value for w, value in zip(weights, values, strict=True))
        + (noise.gauss(0.0, 0.05) if recipe.seed is not None else 0.0)
        for values in zip(*parents, strict=True)
    ]


def _weights(recipe: Recipe) -> tuple[float, list[float]]:
    """(factor of the sum, weight of each parent)."""
    given = [parent.parameters.get("weight") for parent in recipe.parents]
    if recipe.method in {"task_arithmetic", "ties"} and all(isinstance(w, float) for w in given):
        return 1.0, [float(w) for w in given if w is not None]
    rest = 0.4 / max(1, len(given) - 1)
    return 1.1, [0.6, *([rest] * (len(given) - 1))]


class LandscapeEvaluator:
    """Scores by the distance to a hidden optimum of each task, a bit elsewhere for each part."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        rng = Random(f"optimum {seed}")
        self._optima = [[rng.gauss(0.0, 0.6) for _ in range(DIMENSIONS)] for _ in range(_TASKS)]
        self.evaluation_id = content_id("evaluation", 1, {"landscape": seed})

    def on(self, part: Part) -> LandscapeEvaluator:
        """The same with optima that are a little elsewhere, as other items are."""
        other = copy.copy(self)
        other.move(part)
        return other

    def move(self, part: Part) -> None:
        """Move the optima to where another part of the items has them."""
        rng = Random(f"optimum {self._seed} {part}")
        self._optima = [[at + rng.gauss(0.0, 0.1) for at in each] for each in self._optima]
        settings = {"landscape": self._seed, "part": part}
        self.evaluation_id = content_id("evaluation", 1, settings)

    def chosen(self, measured: Scores) -> Scores:
        """All of it counts."""
        return measured

    def evaluate(self, model: Path, into: Path, progress: Progress) -> Scores:
        """100 at the optimum of a task, falling with the squared distance."""
        vector = read_vector(model)
        tasks = []
        for number, optimum in enumerate(self._optima):
            share = math.exp(-(math.dist(vector, optimum) ** 2) / DIMENSIONS)
            task = f"task-{number}"
            rows = [
                {"doc_id": item, "filter": "none", "metrics": {METRIC: value}}
                for item, value in enumerate(_item_values(vector, share))
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (into / samples_file(task)).write_text(text)
            score = TaskScore(
                task=task, metric=METRIC, value=100.0 * share, stderr=1.0, samples=_ITEMS
            )
            tasks.append(score)
            progress(number + 1, _TASKS)
        return Scores(evaluation_id=self.evaluation_id, tasks=tuple(tasks))

    def close(self) -> None:
        """Nothing was started."""


def _item_values(vector: list[float], share: float) -> list[float]:
    """Results in [0, 1] whose mean is `share`; how they spread depends on the model."""
    room = share * (1.0 - share)
    values = []
    for item in range(0, _ITEMS, 2):
        offset = room * math.sin(97.0 * vector[item % DIMENSIONS] + item)
        values += [share + offset, share - offset]
    return values


class LandscapeMeter:
    """Kinship of vectors by its definition, the base being the origin."""

    def measure(
        self, models: Mapping[str, Path], pairs: Sequence[Pair], progress: Progress
    ) -> list[KinshipReading]:
        """pcc, cosine and Euclidean distance; pcc and cosine are undefined for the origin."""
        vectors = {name: read_vector(folder) for name, folder in models.items()}
        progress(len(pairs), len(pairs))
        return [kinship_of(each, vectors[each[0]], vectors[each[1]]) for each in pairs]

    def close(self) -> None:
        """Nothing was started."""
