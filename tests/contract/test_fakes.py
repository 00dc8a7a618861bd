"""The landscape fakes keep the contracts of workers."""

import pytest

from evomerge.config import EvaluationConfig
from evomerge.domain.kinship import pair
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.execution import operations
from evomerge.testing.contracts import (
    MeasuringContract,
    MergingContract,
    ScoringContract,
    WorkerContract,
    World,
)
from evomerge.testing.landscape import (
    LandscapeEvaluator,
    LandscapeMerger,
    LandscapeMeter,
    LandscapeWorker,
    make_base,
    make_foundation,
    read_vector,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    base = make_base(root / "base")
    models = [make_foundation(root / name, name, seed) for seed, name in enumerate("abc")]
    folders = {model.content_id: root / model.name for model in models}
    (root / "broken").mkdir()
    parents = list(folders)[:2]
    return World(
        base=base.content_id,
        folders={**folders, base.content_id: root / "base"},
        recipe=Recipe(
            method="dare_ties",
            parents=tuple(Ingredient(model=name) for name in parents),
            base=base.content_id,
            seed=5,
            engine="landscape 1",
        ),
        evaluation=EvaluationConfig.model_validate({"tasks": ["landscape"]}),
        summed=Recipe(
            method="wudi",
            parents=tuple(Ingredient(model=each, parameters={"weight": 1.0}) for each in parents),
            base=base.content_id,
            disentangled=True,
            engine="landscape 1",
        ),
        broken=root / "broken",
        values=read_vector,
    )


class TestLandscapeMerger(WorkerContract, MergingContract):
    worker = pytest.fixture(lambda self: LandscapeMerger())

    @pytest.fixture
    def operation(self, world, tmp_path):
        return world.merge(tmp_path / "child")


class TestLandscapeEvaluator(WorkerContract, ScoringContract):
    worker = pytest.fixture(lambda self: LandscapeEvaluator())
    operation = pytest.fixture(lambda self, world: world.describe())


class TestLandscapeMeter(WorkerContract, MeasuringContract):
    worker = pytest.fixture(lambda self: LandscapeMeter())

    @pytest.fixture
    def operation(self, world, tmp_path):
        names = list(world.models)
        pairs = [pair(*names[:2])]
        folder = world.folders.__getitem__
        return operations.measure(world.base, names[:2], pairs, folder, (), tmp_path)


class TestLandscapeWorker(MergingContract, ScoringContract, MeasuringContract):
    worker = pytest.fixture(lambda self: LandscapeWorker())
