"""Contract tests of workers, strategies and stopping criteria, for fakes and real ones.

A suite is a class whose docstring names the fixtures that it needs; to run it, inherit from it in
a test module under a name that starts with `Test`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from evomerge.config import EvaluationConfig, GuardConfig, MergeOptions
from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import KinshipReading, Metric, Pair, pair
from evomerge.domain.recipe import WEIGHT, Ingredient, Recipe
from evomerge.domain.scores import Scores, Split
from evomerge.execution import operations
from evomerge.execution.evaluation import Evaluation
from evomerge.ports import Operation, Worker
from evomerge.testing.plugin_contracts import CriterionContract, StrategyContract

__all__ = [
    "CriterionContract",
    "MeasuringContract",
    "MergingContract",
    "ScoringContract",
    "StrategyContract",
    "WorkerContract",
    "World",
]


@dataclass(frozen=True)
class World:
    """Models to test a worker with.

    Attributes:
        base: content id of the base model.
        folders: the folder of the base and of at least three models, by content id.
        recipe: merges two of them.
        summed: merges them by a sum of disentangled task vectors, with a weight for each.
        evaluation: scores them.
        broken: a folder without a usable model.
        values: reads all weights of the model in a folder.
    """

    base: str
    folders: dict[str, Path]
    recipe: Recipe
    summed: Recipe
    evaluation: EvaluationConfig
    broken: Path
    values: Callable[[Path], Sequence[float]]

    def merge(
        self,
        into: Path,
        others: Mapping[str, Path] | None = None,
        recipe: Recipe | None = None,
    ) -> Operation:
        """A merge of `recipe` into a new folder; `others` replace its inputs."""
        into.mkdir()
        folders = {**self.folders, **(others or {})}
        return operations.merge(recipe or self.recipe, MergeOptions(), folders.__getitem__, into)

    def disentangle(self, recipe: Recipe, into: Path) -> Operation:
        """Write the task vectors that `recipe` sums into a new folder."""
        into.mkdir()
        return operations.disentangle(recipe, MergeOptions(), self.folders.__getitem__, into)

    def sum(self, recipe: Recipe, vectors: Path, into: Path) -> Operation:
        """Merge `recipe` over its task vectors in folder `vectors` into a new folder."""
        into.mkdir()
        folders = {self.base: self.folders[self.base], str(recipe.task_vectors): vectors}
        return operations.merge(recipe, MergeOptions(), folders.__getitem__, into)

    def describe(self) -> Operation:
        """A `describe` operation for `evaluation`."""
        return operations.describe(self.evaluation, MergeOptions())

    def score(self, model: Path, into: Path, split: Split = "selection") -> Operation:
        """An evaluation of the model in folder `model` into a new folder."""
        into.mkdir()
        return operations.score(self.evaluation, MergeOptions(), split, model, into)

    @property
    def guarded(self) -> World:
        """The same world, whose evaluation has a guard with the packaged text."""
        guarded = self.evaluation.model_copy(update={"guard": GuardConfig()})
        return replace(self, evaluation=guarded)

    @property
    def models(self) -> dict[str, Path]:
        """The folders except the base's."""
        return {name: path for name, path in self.folders.items() if name != self.base}


def ignore(done: int, total: int) -> None:
    """A progress callback that checks its arguments."""
    assert 0 <= done <= total


def contents(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder`, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def changed(recipe: Recipe, **fields: Any) -> Recipe:
    """`recipe` with other fields; a copy would keep what was computed from the old ones."""
    return Recipe.model_validate({**recipe.model_dump(exclude={*fields}), **fields})


def weighed(recipe: Recipe, *weights: float) -> Recipe:
    """`recipe` with other weights of its parents."""
    each = zip(recipe.parents, weights, strict=True)
    own = [(parent.model, {**parent.parameters, WEIGHT: weight}) for parent, weight in each]
    parents = tuple(Ingredient(model=model, parameters=parameters) for model, parameters in own)
    return changed(recipe, parents=parents)


class WorkerContract:
    """Fixtures: `worker` (a Worker), `operation` (one that it does), `world`."""

    def test_it_does_the_operation_and_says_so(self, worker: Worker, operation: Operation) -> None:
        assert operation.kind in worker.kinds
        assert worker.name

    def test_it_can_be_started_and_closed_at_any_time(
        self, worker: Worker, operation: Operation
    ) -> None:
        worker.close()
        worker.start()
        worker.start()
        worker.close()
        worker.run(operation, ignore)
        worker.close()
        worker.close()

    def test_the_answer_is_json(self, worker: Worker, operation: Operation) -> None:
        answer = worker.run(operation, ignore)
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer

    def test_an_operation_of_another_kind_is_refused(
        self, worker: Worker, operation: Operation
    ) -> None:
        other = operation.model_copy(update={"kind": "no-such-kind"})
        with pytest.raises(CandidateError):
            worker.run(other, ignore)
        worker.run(operation, ignore)


class MergingContract:
    """For workers that support `check`, `merge` and `disentangle`. Fixtures: `worker`, `world`."""

    def test_the_same_recipe_gives_the_same_files(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        made = []
        for name in ("first", "second"):
            worker.run(world.merge(tmp_path / name), ignore)
            made.append(contents(tmp_path / name))
            worker.close()
        assert made[0] == made[1]
        assert made[0]

    def test_parents_are_left_as_they_are(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        before = {name: contents(folder) for name, folder in world.folders.items()}
        worker.run(world.merge(tmp_path / "child"), ignore)
        assert {name: contents(folder) for name, folder in world.folders.items()} == before

    def test_a_broken_parent_is_a_failed_candidate_and_spares_the_next_one(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        operation = world.merge(tmp_path / "one", {world.recipe.parents[1].model: world.broken})
        with pytest.raises(CandidateError):
            worker.run(operation, ignore)
        worker.run(world.merge(tmp_path / "two"), ignore)
        assert contents(tmp_path / "two")

    def test_a_sound_recipe_passes_the_check(self, worker: Worker, world: World) -> None:
        worker.run(operations.check(world.recipe, MergeOptions()), ignore)
        worker.run(operations.check(world.summed, MergeOptions()), ignore)

    def test_task_vectors_depend_on_neither_weights_nor_order(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        turned = changed(world.summed, parents=world.summed.parents[::-1])
        made = []
        for name, recipe in (("one", world.summed), ("two", weighed(turned, 0.0, 2.0))):
            assert recipe.task_vectors == world.summed.task_vectors
            worker.run(world.disentangle(recipe, tmp_path / name), ignore)
            made.append(contents(tmp_path / name))
        assert made[0] == made[1]
        assert {name.split("/")[0] for name in made[0]} >= {p.model for p in turned.parents}

    def test_their_weighted_sum_is_what_the_method_merges(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        vectors = tmp_path / "vectors"
        worker.run(world.disentangle(world.summed, vectors), ignore)
        for number, weights in enumerate([(0.0, 0.0), (0.25, 1.5), (-0.5, 0.75)]):
            summed = weighed(world.summed, *weights)
            direct = changed(summed, disentangled=False)
            made = [tmp_path / f"{kind}-{number}" for kind in ("summed", "direct")]
            worker.run(world.sum(summed, vectors, made[0]), ignore)
            worker.run(world.merge(made[1], recipe=direct), ignore)
            found, expected = map(world.values, made)
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
            if not any(weights):
                assert found == pytest.approx(world.values(world.folders[world.base]), abs=1e-6)


class ScoringContract:
    """For workers that support `describe` and `score`. Fixtures: `worker`, `world`."""

    def test_the_description_is_stable(self, worker: Worker, world: World) -> None:
        first = worker.run(world.describe(), ignore)
        worker.close()
        assert worker.run(world.describe(), ignore) == first
        evaluation = Evaluation.model_validate(first)
        assert evaluation.ids["selection"] != evaluation.ids["held_out"]
        assert evaluation.counted["selection"]

    def test_scores_do_not_depend_on_what_was_scored_before(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        evaluation = Evaluation.model_validate(worker.run(world.describe(), ignore))
        folders = list(world.models.values())[:2]
        runs = []
        for number, folder in enumerate([*folders, *reversed(folders)]):
            into = tmp_path / str(number)
            runs.append((worker.run(world.score(folder, into), ignore), contents(into)))
        assert runs[0] == runs[3]
        assert runs[1] == runs[2]
        assert runs[0][1], "per-sample logs are kept"
        assert runs[0][0]["evaluation_id"] == evaluation.ids["selection"]

    def test_what_counts_is_measured(self, worker: Worker, world: World, tmp_path: Path) -> None:
        evaluation = Evaluation.model_validate(worker.run(world.describe(), ignore))
        folder = next(iter(world.models.values()))
        measured = Scores.model_validate(worker.run(world.score(folder, tmp_path / "a"), ignore))
        for task in evaluation.chosen(measured, "selection").tasks:
            assert 0 <= task.value <= 100

    def test_a_guard_measures_perplexity_with_the_selection_split_alone(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        folder = next(iter(world.models.values()))
        plain = Evaluation.model_validate(worker.run(world.describe(), ignore))
        ids = Evaluation.model_validate(worker.run(world.guarded.describe(), ignore)).ids
        assert {split for split in ids if ids[split] != plain.ids[split]} == {"selection"}
        runs = [worker.run(world.guarded.score(folder, tmp_path / name), ignore) for name in "ab"]
        assert runs[0] == runs[1]
        assert runs[0]["evaluation_id"] == ids["selection"]
        measured = Scores.model_validate(runs[0]).perplexity
        assert measured is not None
        assert measured.value > 1
        without = worker.run(world.score(folder, tmp_path / "c"), ignore)
        assert without["tasks"] == runs[0]["tasks"]
        held_out = worker.run(world.guarded.score(folder, tmp_path / "d", "held_out"), ignore)
        assert "perplexity" not in {**without, **held_out}

    def test_a_broken_model_is_a_failed_candidate_and_spares_the_next_one(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        with pytest.raises(CandidateError):
            worker.run(world.score(world.broken, tmp_path / "one"), ignore)
        folder = next(iter(world.models.values()))
        assert worker.run(world.score(folder, tmp_path / "two"), ignore)["tasks"]


class MeasuringContract:
    """For workers that support `measure`. Fixtures: `worker`, `world`."""

    def test_readings_come_in_the_order_of_the_pairs(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        pairs = [pair(a, b) for a, b in combinations(world.models, 2)][::-1]
        readings = measured(worker, world, pairs, tmp_path)
        assert [reading.models for reading in readings] == pairs
        for reading in readings:
            assert reading.pcc is not None
            assert -1 <= reading.pcc <= 1
            assert reading.euclidean is not None
            assert reading.euclidean > 0

    def test_a_measurement_can_be_repeated_in_a_fresh_process(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        pairs = [pair(a, b) for a, b in combinations(world.models, 2)]
        first = measured(worker, world, pairs, tmp_path)
        worker.close()
        assert measured(worker, world, pairs, tmp_path) == first

    def test_a_copy_is_the_closest_kin(self, worker: Worker, world: World, tmp_path: Path) -> None:
        name, folder = next(iter(world.models.items()))
        (reading,) = measured(worker, world, [pair(name, "copy")], tmp_path, copy=folder)
        assert reading.value(Metric.PCC) == pytest.approx(1, abs=1e-9)
        assert reading.value(Metric.COSINE) == pytest.approx(1, abs=1e-9)
        assert reading.value(Metric.EUCLIDEAN) == 0

    def test_kinship_to_the_base_is_undefined_not_zero(
        self, worker: Worker, world: World, tmp_path: Path
    ) -> None:
        name, origin = next(iter(world.models)), world.folders[world.base]
        (reading,) = measured(worker, world, [pair(name, "origin")], tmp_path, origin=origin)
        assert reading.pcc is None
        assert reading.cosine is None
        assert reading.euclidean is not None


def measured(
    worker: Worker, world: World, pairs: Sequence[Pair], passes: Path, **others: Path
) -> list[KinshipReading]:
    """Measure `pairs` of the world's models, its base and `others`."""
    folders = {**world.folders, **others}
    models = list(dict.fromkeys(name for each in pairs for name in each))
    operation = operations.measure(world.base, models, pairs, folders.__getitem__, (), passes)
    answer = worker.run(operation, ignore)
    return [KinshipReading.model_validate(reading) for reading in answer["readings"]]
