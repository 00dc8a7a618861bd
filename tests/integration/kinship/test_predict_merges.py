"""Predicted kinship against real mergekit output, over three generations."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evomerge.adapters import mergekit_child
from evomerge.adapters.mergekit import mergekit_yaml
from evomerge.config import MergeOptions
from evomerge.kinship import KinshipError, MissingPairsError, Statistics, measure
from evomerge.kinship.prediction.predict import Prediction, predict
from evomerge.kinship.prediction.refit import correct
from evomerge.kinship.prediction.sample import take_sample

SCRIPT = Path(__file__).parents[3] / "scripts" / "bench" / "predict.py"
SIZE = 100_000
DTYPES = ("float32", "bfloat16")


@pytest.fixture(scope="module")
def bench():
    """The benchmark's own models, merges and comparison."""
    spec = importlib.util.spec_from_file_location("bench_predict", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Merger:
    """The merges of the child process, in this one."""

    def merge(self, recipe, inputs, into, progress):
        into.mkdir()
        payload = {
            "config": mergekit_yaml(recipe),
            "seed": recipe.seed,
            "options": MergeOptions().model_dump(),
            "recipe_options": {},
            "inputs": {name: str(inputs[name]) for name in recipe.inputs},
            "into": str(into),
        }
        mergekit_child.merge(payload, progress)


@pytest.fixture(scope="module")
def study(bench, tmp_path_factory):
    """(method, dtype, deltas) -> lineage, founders' statistics, all models', samples."""
    known = {}
    logging.disable(logging.ERROR)  # these models have no tokenizer, and mergekit minds
    threads = torch.get_num_threads()

    def get(method, dtype, deltas=(0.03, 0.02, 0.05)):
        if (method, dtype, deltas) not in known:
            torch.set_num_threads(1)
            folder = tmp_path_factory.mktemp(method)
            family = bench.make_family(folder, bench.Shape(), dtype, deltas)
            lineage = bench.breed(Merger(), family, method, dtype)
            models = lineage.models
            founders = {name: models[name] for name in models if name not in lineage.generation}
            base = lineage.folders["base"]
            first = measure(base, founders, base_id="base")
            last = measure(base, models, base_id="base", known=[first])
            samples = {
                name: take_sample(base, lineage.folders[name], size=SIZE)
                for name in ("base", *founders)
            }
            known[method, dtype, deltas] = (
                lineage,
                Statistics.merge([first], list(founders)),
                Statistics.merge([first, last], list(models)),
                samples,
            )
        return known[method, dtype, deltas]

    yield get
    logging.disable(logging.NOTSET)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("method", "dtype", "largest"),
    [
        ("linear", "float32", 1e-7),
        ("slerp", "float32", 2e-5),
        ("slerp", "bfloat16", 1e-2),
        ("linear", "bfloat16", 1.5e-2),
    ],
)
def test_from_the_gram_matrix_alone(bench, study, method, dtype, largest):
    lineage, known, real, _ = study(method, dtype)
    errors = bench.compare(real, predict(known, lineage.recipes), lineage.generation)
    assert max(errors.largest(generation) for generation in (1, 2, 3)) < largest
    assert errors.within() >= 0.95


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("method", "largest"),
    [("linear", 1.5e-3), ("slerp", 1.5e-3), ("ties", 8e-3), ("dare_ties", 2e-2)],
)
def test_from_samples(bench, study, method, dtype, largest):
    lineage, known, real, samples = study(method, dtype)
    prediction = predict(known, lineage.recipes, samples)
    assert not prediction.refused
    errors = bench.compare(real, prediction, lineage.generation)
    assert max(errors.largest(generation) for generation in (1, 2, 3)) < largest
    assert errors.within() >= 0.95


def test_small_deltas_in_bfloat16_get_no_confident_number(bench, study):
    lineage, known, real, samples = study("linear", "bfloat16", (0.005, 0.005, 0.005))
    alone = predict(known, lineage.recipes)
    errors = bench.compare(real, alone, lineage.generation)
    assert errors.within() >= 0.95
    assert max(errors.largest(generation) for generation in (1, 2, 3)) > 0.05
    matrix = alone.matrix("pcc")
    assert all(one.value is None for row in matrix for one in row if one.predicted), (
        "rounding dominates here: measure instead"
    )
    sampled = predict(known, lineage.recipes, samples)
    errors = bench.compare(real, sampled, lineage.generation)
    assert errors.within() >= 0.95
    assert max(errors.largest(generation) for generation in (1, 2, 3)) < 1e-2


@pytest.mark.parametrize("with_samples", [False, True])
@pytest.mark.parametrize("method", ["slerp", "linear"])
def test_refitted_on_products_with_the_parents(bench, study, method, with_samples):
    lineage, known, real, samples = study(method, "bfloat16")
    before = Prediction(known, samples=samples if with_samples else {})
    alone = bench.compare(real, predict(before, lineage.recipes), lineage.generation)
    refitted = bench.refit(lineage, before, "bfloat16")
    errors = bench.compare(real, refitted, lineage.generation)
    assert errors.within() >= 0.95
    if not with_samples:
        assert errors.largest(1) < alone.largest(1) / 2
    for recipe in lineage.recipes:
        for parent in recipe.parents:
            estimate = refitted.pair("pcc", recipe.id, parent.model)
            assert not estimate.predicted
            if parent.model in known.models:
                truth = real.pair("pcc", recipe.id, parent.model)
                assert estimate.value == pytest.approx(truth, abs=2e-8)


def test_a_replayed_merge_is_the_merge_at_the_sampled_places(study):
    for method in ("linear", "slerp"):
        lineage, known, _, samples = study(method, "bfloat16")
        prediction = predict(known, lineage.recipes, samples)
        base = lineage.folders["base"]
        for recipe in lineage.recipes[:3]:
            real = take_sample(base, lineage.folders[recipe.id], size=SIZE)
            alike = [
                np.mean(one.weights == prediction.samples[recipe.id].tensors[name].weights)
                for name, one in real.tensors.items()
            ]
            assert min(alike) > 0.99


def test_a_sample_of_everything_tells_everything_that_is_not_drawn(bench, study):
    lineage, known, real, _ = study("ties", "bfloat16")
    base = lineage.folders["base"]
    samples = {
        name: take_sample(base, lineage.folders[name], size=10**7)
        for name in ("base", *known.models)
    }
    errors = bench.compare(real, predict(known, lineage.recipes, samples), lineage.generation)
    assert max(error for _, _, error, _ in errors.rows) < 1e-6


def test_della_and_dare_linear_and_samples_read_again(bench, study):
    _, known, _, samples = study("ties", "float32")
    again = {name: type(one).from_bytes(one.to_bytes()) for name, one in samples.items()}
    recipes = [
        bench.make_recipe(method, ("m0", "m1"), "float32", 1) for method in ("della", "dare_linear")
    ]
    prediction = predict(known, recipes, again)
    for recipe in recipes:
        assert 0.3 < prediction.pair("pcc", recipe.id, "m0").value < 1
    refused = bench.make_recipe("no_such_method", ("m0", "m1"), "float32", 1)
    assert "no_such_method" in predict(known, [refused], again).refused[refused.id]


def test_what_a_pass_must_hold_to_correct(study):
    lineage, known, _, _ = study("linear", "float32")
    child = lineage.recipes[0].id
    base, folders = lineage.folders["base"], lineage.models
    of_others = measure(base, {"m0": folders["m0"], "m1": folders["m1"]}, base_id="base")
    with pytest.raises(MissingPairsError):
        correct(known, of_others, child)
    elsewhere = measure(base, {"m0": folders["m0"], child: folders[child]}, base_id="other")
    with pytest.raises(KinshipError, match="another base"):
        correct(known, elsewhere, child)


def test_pairs_of_all_candidates_are_in_one_prediction(bench, study):
    _, known, _, _ = study("slerp", "float32")
    recipes = [
        bench.make_recipe("slerp", pair, "float32", 0)
        for pair in itertools.permutations(known.models, 2)
    ]
    prediction = predict(known, recipes)
    matrix = prediction.matrix("pcc", [recipe.id for recipe in recipes])
    assert all(one.value is not None for row in matrix for one in row)
