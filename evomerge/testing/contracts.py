"""What every part behind a port must do: suites to inherit, for the fakes and the real parts.

A suite is a class that needs the fixtures which it names; pytest collects it where a test module
inherits from it under a name that starts with `Test`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest

from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import Metric, pair
from evomerge.domain.recipe import Recipe
from evomerge.ports import Evaluator, KinshipMeter, Merger


@dataclass(frozen=True)
class World:
    """Models to try a part on.

    Attributes:
        base: content id of the base model.
        folders: the folder of the base and of at least three models, by content id.
        recipe: merges two of them.
        broken: a folder that holds no usable model.
    """

    base: str
    folders: dict[str, Path]
    recipe: Recipe
    broken: Path

    @property
    def models(self) -> dict[str, Path]:
        """The folders without the base's."""
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


class MergerContract:
    """Fixtures: `part` (a Merger), `world`."""

    def test_the_engine_has_a_name_and_a_version(self, part: Merger) -> None:
        assert len(part.engine.split()) == 2

    def test_the_same_recipe_gives_the_same_files(
        self, part: Merger, world: World, tmp_path: Path
    ) -> None:
        made = []
        for name in ("first", "second"):
            into = tmp_path / name
            into.mkdir()
            part.merge(world.recipe, world.folders, into, ignore)
            made.append(contents(into))
            part.close()
        assert made[0] == made[1]
        assert made[0]

    def test_parents_are_left_as_they_are(self, part: Merger, world: World, tmp_path: Path) -> None:
        before = {name: contents(folder) for name, folder in world.folders.items()}
        part.merge(world.recipe, world.folders, tmp_path, ignore)
        assert {name: contents(folder) for name, folder in world.folders.items()} == before

    def test_a_broken_parent_is_a_failed_candidate_and_spares_the_next_one(
        self, part: Merger, world: World, tmp_path: Path
    ) -> None:
        broken = {**world.folders, world.recipe.parents[1].model: world.broken}
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        with pytest.raises(CandidateError):
            part.merge(world.recipe, broken, tmp_path / "one", ignore)
        part.merge(world.recipe, world.folders, tmp_path / "two", ignore)
        assert contents(tmp_path / "two")


class EvaluatorContract:
    """Fixtures: `part` (an Evaluator), `world`."""

    def test_the_evaluation_id_is_stable(self, part: Evaluator) -> None:
        first = part.evaluation_id
        part.close()
        assert part.evaluation_id == first

    def test_scores_do_not_depend_on_what_was_scored_before(
        self, part: Evaluator, world: World, tmp_path: Path
    ) -> None:
        folders = list(world.models.values())[:2]
        runs = []
        for number, folder in enumerate([*folders, *reversed(folders)]):
            into = tmp_path / str(number)
            into.mkdir()
            runs.append((part.evaluate(folder, into, ignore), contents(into)))
        assert runs[0] == runs[3]
        assert runs[1] == runs[2]
        assert runs[0][1], "per-sample logs are kept"
        assert runs[0][0].evaluation_id == part.evaluation_id

    def test_a_broken_model_is_a_failed_candidate_and_spares_the_next_one(
        self, part: Evaluator, world: World, tmp_path: Path
    ) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        with pytest.raises(CandidateError):
            part.evaluate(world.broken, tmp_path / "one", ignore)
        folder = next(iter(world.models.values()))
        assert part.evaluate(folder, tmp_path / "two", ignore).tasks


class KinshipMeterContract:
    """Fixtures: `part` (a KinshipMeter), `world`."""

    def test_readings_come_in_the_order_of_the_pairs(
        self, part: KinshipMeter, world: World
    ) -> None:
        pairs = [pair(a, b) for a, b in combinations(world.models, 2)][::-1]
        readings = part.measure(world.models, pairs, ignore)
        assert [reading.models for reading in readings] == pairs
        for reading in readings:
            assert reading.pcc is not None
            assert -1 <= reading.pcc <= 1
            assert reading.euclidean is not None
            assert reading.euclidean > 0

    def test_a_measurement_can_be_repeated_in_a_fresh_process(
        self, part: KinshipMeter, world: World
    ) -> None:
        pairs = [pair(a, b) for a, b in combinations(world.models, 2)]
        first = part.measure(world.models, pairs, ignore)
        part.close()
        assert part.measure(world.models, pairs, ignore) == first

    def test_a_copy_is_the_closest_kin(self, part: KinshipMeter, world: World) -> None:
        name, folder = next(iter(world.models.items()))
        (reading,) = part.measure({name: folder, "copy": folder}, [pair(name, "copy")], ignore)
        assert reading.value(Metric.PCC) == pytest.approx(1, abs=1e-9)
        assert reading.value(Metric.COSINE) == pytest.approx(1, abs=1e-9)
        assert reading.value(Metric.EUCLIDEAN) == 0

    def test_kinship_to_the_base_is_undefined_not_zero(
        self, part: KinshipMeter, world: World
    ) -> None:
        name, folder = next(iter(world.models.items()))
        models = {name: folder, "base-copy": world.folders[world.base]}
        (reading,) = part.measure(models, [pair(name, "base-copy")], ignore)
        assert reading.pcc is None
        assert reading.cosine is None
        assert reading.euclidean is not None
