"""Models that are vectors: a whole evolution in milliseconds, with real files and no torch.

A model is a folder with `weights.bin` (a name that retention prunes): its delta from the base, the
origin, as JSON. A merge is the mean of its parents plus a fraction of their difference, a
score decreases with the distance to a hidden optimum, and kinship is computed from the vectors, so
that a landscape run follows the same laws as a real one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, get_args

from evomerge.domain.errors import CandidateError
from evomerge.domain.identity import content_id
from evomerge.domain.kinship import kinship_of
from evomerge.domain.model import Foundation
from evomerge.domain.recipe import Recipe
from evomerge.domain.scores import Split, TaskScore
from evomerge.ports import Operation, Progress
from evomerge.store.samples import samples_file

VECTOR = "weights.bin"
DIMENSIONS = 12
METRIC = "near"
_TASKS = 3
_ITEMS = 100
_TOKENS = 1000


def make_foundation(folder: Path, name: str, seed: int) -> Foundation:
    """Write a foundation model into `folder` and describe it; deterministic in `seed`."""
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
    """Write only if missing: a resumed run must not touch foundation models."""
    path, text = folder / VECTOR, json.dumps(vector)
    if not path.is_file() or path.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read_vector(folder: Path) -> list[float]:
    """The vector of a model.

    Raises:
        CandidateError: the file is missing or invalid, or a component is not finite.
    """
    try:
        vector = [float(value) for value in json.loads((folder / VECTOR).read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise CandidateError(f"{folder / VECTOR}: not a vector") from error
    if not all(math.isfinite(value) for value in vector):
        raise CandidateError(f"{folder / VECTOR}: a component is not finite")
    return vector


class Fake:
    """A worker in this process; operations and answers are converted to JSON and back.

    An operation of kind `merge` is done by the method `merge`, and so on.
    """

    kinds: frozenset[str] = frozenset()
    host = ""

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    def start(self) -> None:
        """Do nothing."""

    def run(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Call the method named like the operation's kind."""
        if operation.kind not in self.kinds:
            raise CandidateError(f"{self.name} does not support {operation.kind!r}")
        crossed = Operation.model_validate(
            json.loads(json.dumps(operation.model_dump(mode="json")))
        )
        answer = getattr(self, operation.kind)(crossed, progress)
        back: dict[str, Any] = json.loads(json.dumps(answer))
        return back

    def close(self) -> None:
        """Do nothing."""


class LandscapeMerger(Fake):
    """Averages parents in the ratio 0.6 : 0.4, the first one first, then extrapolates.

    Parents with explicit weights are summed with these weights instead, with `wudi` over
    disentangled task vectors: each coordinate belongs to the parent that moved it most.
    """

    kinds = frozenset({"check", "merge", "disentangle"})

    def check(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Accept every recipe."""
        return {}

    def merge(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Write the child's vector; a seeded recipe adds noise that depends only on its seed."""
        recipe = Recipe.model_validate(operation.arguments["recipe"])
        folders = dict(operation.inputs)
        if recipe.task_vectors is not None:
            vectors = folders.pop(recipe.task_vectors)
            folders = {parent.model: vectors / parent.model for parent in recipe.parents}
        parents = [read_vector(folders[parent.model]) for parent in recipe.parents]
        if recipe.method == "wudi" and recipe.task_vectors is None:
            parents = _disentangled(parents)
        (operation.output / VECTOR).write_text(json.dumps(_child(recipe, parents)))
        (operation.output / "recipe.json").write_text(recipe.model_dump_json())
        progress(1, 1)
        return {}

    def disentangle(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Write the disentangled vector of each parent into a folder of its name."""
        recipe = Recipe.model_validate(operation.arguments["recipe"])
        names = [parent.model for parent in recipe.parents]
        vectors = _disentangled([read_vector(operation.inputs[name]) for name in names])
        for done, (name, vector) in enumerate(zip(names, vectors, strict=True), start=1):
            (operation.output / name).mkdir()
            (operation.output / name / VECTOR).write_text(json.dumps(vector))
            progress(done, len(names))
        return {}


def _disentangled(vectors: Sequence[Sequence[float]]) -> list[list[float]]:
    """Vectors that share no coordinate: each keeps those in which no other one is longer."""
    owners = [
        max(range(len(vectors)), key=lambda place: abs(values[place]))
        for values in zip(*vectors, strict=True)
    ]
    return [
        [value if owner == place else 0.0 for value, owner in zip(vector, owners, strict=True)]
        for place, vector in enumerate(vectors)
    ]


def _child(recipe: Recipe, parents: Sequence[Sequence[float]]) -> list[float]:
    overshoot, weights = _weights(recipe)
    noise = Random(recipe.seed or 0)
    return [
        overshoot * math.fsum(w * value for w, value in zip(weights, values, strict=True))
        + (noise.gauss(0.0, 0.05) if recipe.seed is not None else 0.0)
        for values in zip(*parents, strict=True)
    ]


def _weights(recipe: Recipe) -> tuple[float, list[float]]:
    """The factor of the sum, and the weight of each parent."""
    given = [parent.parameters.get("weight") for parent in recipe.parents]
    if recipe.method in {"task_arithmetic", "ties", "wudi"} and all(
        isinstance(w, float) for w in given
    ):
        return 1.0, [float(w) for w in given if w is not None]
    rest = 0.4 / max(1, len(given) - 1)
    return 1.1, [0.6, *([rest] * (len(given) - 1))]


class LandscapeEvaluator(Fake):
    """Scores by the distance to a hidden optimum per task, shifted slightly for each split."""

    kinds = frozenset({"describe", "score"})

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def evaluation_id(self, split: Split = "selection", guard: str | None = None) -> str:
        """The evaluation id of a split; `guard` is the text of the guard, if there is one."""
        settings: dict[str, Any] = {"landscape": self._seed}
        if split != "selection":
            settings["split"] = split
        elif guard is not None:
            settings["guard"] = guard
        return content_id("evaluation", 1, settings)

    def optima(self, split: Split) -> list[list[float]]:
        """The optimal vector of each task on the items of a split."""
        rng = Random(f"optimum {self._seed}")
        optima = [[rng.gauss(0.0, 0.6) for _ in range(DIMENSIONS)] for _ in range(_TASKS)]
        if split == "selection":
            return optima
        rng = Random(f"optimum {self._seed} {split}")
        return [[at + rng.gauss(0.0, 0.1) for at in each] for each in optima]

    def describe(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Describe an evaluation in which all metrics count."""
        splits = get_args(Split)
        counted = [{"task": f"task-{number}", "metric": METRIC} for number in range(_TASKS)]
        return {
            "ids": {split: self.evaluation_id(split, _guard(operation)) for split in splits},
            "counted": dict.fromkeys(splits, counted),
        }

    def score(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Score 100 at the optimum of a task, decreasing with the squared distance.

        With a guard, perplexity is lowest at an optimum of its own, and grows with the distance.
        """
        split = operation.arguments["split"]
        vector = read_vector(operation.inputs["model"])
        tasks = []
        for number, optimum in enumerate(self.optima(split)):
            share = math.exp(-(math.dist(vector, optimum) ** 2) / DIMENSIONS)
            task = f"task-{number}"
            rows = [
                {"doc_id": item, "filter": "none", "metrics": {METRIC: value}}
                for item, value in enumerate(_item_values(vector, share))
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (operation.output / samples_file(task)).write_text(text)
            score = TaskScore(
                task=task, metric=METRIC, value=100.0 * share, stderr=1.0, samples=_ITEMS
            )
            tasks.append(score.model_dump(mode="json"))
            progress(number + 1, _TASKS)
        guard = _guard(operation) if split == "selection" else None
        measured = {} if guard is None else {"perplexity": self._perplexity(vector)}
        return {"evaluation_id": self.evaluation_id(split, guard), "tasks": tasks, **measured}

    def _perplexity(self, vector: list[float]) -> dict[str, Any]:
        rng = Random(f"language {self._seed}")
        optimum = [rng.gauss(0.0, 0.6) for _ in range(DIMENSIONS)]
        return {"value": 10.0 * math.exp(math.dist(vector, optimum) / 4.0), "tokens": _TOKENS}


def _guard(operation: Operation) -> str | None:
    """The text of the guard of an evaluation; None without one."""
    guard = operation.arguments["evaluation"].get("guard")
    return None if guard is None else str(guard["text"])


def _item_values(vector: list[float], share: float) -> list[float]:
    """Values in [0, 1] with mean `share`; their distribution depends on the model."""
    room = share * (1.0 - share)
    values = []
    for item in range(0, _ITEMS, 2):
        offset = room * math.sin(97.0 * vector[item % DIMENSIONS] + item)
        values += [share + offset, share - offset]
    return values


class LandscapeMeter(Fake):
    """Computes kinship from vectors by definition, the base being the origin."""

    kinds = frozenset({"measure", "sample"})

    def sample(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Do nothing: measuring vectors takes no time."""
        return {}

    def measure(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Pcc, cosine and Euclidean distance; pcc and cosine are undefined for the origin."""
        vectors = {name: read_vector(folder) for name, folder in operation.inputs.items()}
        pairs = operation.arguments["pairs"]
        progress(len(pairs), len(pairs))
        readings = [kinship_of((a, b), vectors[a], vectors[b]) for a, b in pairs]
        return {"readings": [each.model_dump(mode="json") for each in readings]}


class LandscapeWorker(LandscapeMerger, LandscapeEvaluator, LandscapeMeter):
    """One worker for all kinds of operations, like an engine on one GPU."""

    kinds = LandscapeMerger.kinds | LandscapeEvaluator.kinds | LandscapeMeter.kinds
