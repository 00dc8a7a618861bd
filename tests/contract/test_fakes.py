"""The landscape fakes keep the contracts of workers."""

import pytest

from evomerge.domain.kinship import pair
from evomerge.execution import operations
from evomerge.testing.contracts import (
    MeasuringContract,
    MergingContract,
    ScoringContract,
    WorkerContract,
)
from evomerge.testing.landscape import (
    LandscapeEvaluator,
    LandscapeMerger,
    LandscapeMeter,
    LandscapeWorker,
)


@pytest.fixture(scope="module")
def world(landscape_world):
    return landscape_world


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
