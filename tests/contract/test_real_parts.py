"""mergekit, lm-eval and kinship from weights keep the contracts of workers."""

import shutil

import numpy as np
import pytest
from safetensors.torch import load_file

from evomerge.adapters import kinship, mergekit
from evomerge.adapters.foundation import resolve_all
from evomerge.adapters.hub import Hub
from evomerge.adapters.lm_eval import worker as lm_eval
from evomerge.config import EvaluationConfig, MergeOptions, ModelConfig
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

SKILLS = ("reverse", "sort", "rotate")


def values(folder):
    weights = load_file(folder / "model.safetensors")
    return np.concatenate([weights[name].numpy().ravel() for name in sorted(weights)])


@pytest.fixture(scope="module")
def resolved(tiny, tmp_path_factory):
    models = [ModelConfig(model=str(tiny / "models" / name)) for name in ("base", *SKILLS)]
    digests = tmp_path_factory.mktemp("digests") / "digests.json"
    return resolve_all(models[0], models[1:], MergeOptions(), digests, Hub())


@pytest.fixture(scope="module")
def world(resolved, tiny, tmp_path_factory):
    broken = tmp_path_factory.mktemp("broken")
    shutil.copytree(tiny / "models" / "reverse", broken, dirs_exist_ok=True)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    ids = [each.foundation.content_id for each in resolved]
    own = {"weight": 1.0, "density": 0.5}
    return World(
        base=ids[0],
        folders={each.foundation.content_id: each.path for each in resolved},
        recipe=Recipe(
            method="dare_ties",
            parents=tuple(Ingredient(model=each, parameters=own) for each in ids[1:3]),
            base=ids[0],
            seed=7,
            engine="mergekit 0.1.5",
        ),
        evaluation=EvaluationConfig.model_validate(
            {
                "tasks": [
                    {"name": "tiny_reverse", "metric": "exact_match", "limit": 20},
                    {"name": "tiny_rotate", "metric": "acc", "limit": 20},
                ],
                "include": [tiny / "tasks"],
                "dtype": "float32",
            }
        ),
        summed=Recipe(
            method="wudi",
            parents=tuple(Ingredient(model=each, parameters={"weight": 1.0}) for each in ids[1:3]),
            base=ids[0],
            disentangled=True,
            engine="mergekit 0.1.5",
        ),
        broken=broken,
        values=values,
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("logs") / "child.log"


class TestMergekit(WorkerContract, MergingContract):
    @pytest.fixture(scope="class")
    def worker(self, log):
        worker = mergekit.worker(log)
        yield worker
        worker.close()

    operation = pytest.fixture(lambda self, world: operations.check(world.recipe, MergeOptions()))


class TestLmEval(WorkerContract, ScoringContract):
    @pytest.fixture(scope="class")
    def worker(self, log):
        worker = lm_eval.worker("hf", "cpu", log)
        yield worker
        worker.close()

    operation = pytest.fixture(lambda self, world: world.describe())


class TestKinship(WorkerContract, MeasuringContract):
    @pytest.fixture(scope="class")
    def worker(self, log):
        worker = kinship.worker(log)
        yield worker
        worker.close()

    @pytest.fixture
    def operation(self, world, tmp_path):
        names = list(world.models)
        pairs = [pair(*names[:2])]
        folder = world.folders.__getitem__
        return operations.measure(world.base, names[:2], pairs, folder, (), tmp_path)
