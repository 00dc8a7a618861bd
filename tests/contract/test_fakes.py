"""The landscape fakes keep the contracts of their ports."""

import pytest

from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.testing.contracts import (
    EvaluatorContract,
    KinshipMeterContract,
    MergerContract,
    World,
)
from evomerge.testing.landscape import (
    LandscapeEvaluator,
    LandscapeMerger,
    LandscapeMeter,
    make_base,
    make_foundation,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    base = make_base(root / "base")
    models = [make_foundation(root / name, name, seed) for seed, name in enumerate("abc")]
    folders = {model.content_id: root / model.name for model in models}
    (root / "broken").mkdir()
    parents = tuple(Ingredient(model=name) for name in list(folders)[:2])
    return World(
        base=base.content_id,
        folders={**folders, base.content_id: root / "base"},
        recipe=Recipe(
            method="dare_ties", parents=parents, base=base.content_id, seed=5, engine="landscape 1"
        ),
        broken=root / "broken",
    )


class TestLandscapeMerger(MergerContract):
    @pytest.fixture
    def part(self):
        return LandscapeMerger()


class TestLandscapeEvaluator(EvaluatorContract):
    @pytest.fixture
    def part(self):
        return LandscapeEvaluator()


class TestLandscapeMeter(KinshipMeterContract):
    @pytest.fixture
    def part(self):
        return LandscapeMeter()
