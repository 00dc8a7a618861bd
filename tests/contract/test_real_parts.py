"""mergekit, lm-eval and kinship from weights keep the contracts of their ports."""

import shutil

import pytest

from evomerge.adapters.foundation import resolve_all
from evomerge.adapters.kinship import StreamedKinship
from evomerge.adapters.lm_eval.evaluator import LmEvalEvaluator
from evomerge.adapters.mergekit import MergekitMerger
from evomerge.config import EvaluationConfig, MergeOptions, ModelConfig
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.testing.contracts import (
    EvaluatorContract,
    KinshipMeterContract,
    MergerContract,
    World,
)

SKILLS = ("reverse", "sort", "rotate")


@pytest.fixture(scope="module")
def resolved(tiny, tmp_path_factory):
    models = [ModelConfig(model=str(tiny / "models" / name)) for name in ("base", *SKILLS)]
    digests = tmp_path_factory.mktemp("digests") / "digests.json"
    return resolve_all(models[0], models[1:], MergeOptions(), digests)


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
        broken=broken,
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("logs") / "child.log"


@pytest.fixture(scope="module")
def merger(log):
    merger = MergekitMerger(MergeOptions(), log)
    yield merger
    merger.close()


class TestMergekit(MergerContract):
    @pytest.fixture
    def part(self, merger):
        return merger


class TestLmEval(EvaluatorContract):
    @pytest.fixture(scope="class")
    def part(self, tiny, log):
        config = EvaluationConfig.model_validate(
            {
                "tasks": [
                    {"name": "tiny_reverse", "metric": "exact_match", "limit": 20},
                    {"name": "tiny_rotate", "metric": "acc", "limit": 20},
                ],
                "include": [tiny / "tasks"],
                "dtype": "float32",
            }
        )
        evaluator = LmEvalEvaluator(config, "cpu", log)
        yield evaluator
        evaluator.close()


class TestStreamedKinship(KinshipMeterContract):
    @pytest.fixture(scope="class")
    def part(self, resolved, log, tmp_path_factory):
        base = resolved[0]
        passes = tmp_path_factory.mktemp("passes")
        meter = StreamedKinship(base.foundation, base.path, passes, (), log)
        yield meter
        meter.close()
