"""Kinship estimated from samples, against what is measured over all weights."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import sys
from pathlib import Path

import pytest

from evomerge.kinship.estimates import estimates, parts_of
from evomerge.kinship.grouping import kind_of
from evomerge.kinship.sample import Sample, take_sample
from evomerge.kinship.statistics import Statistics
from evomerge.kinship.stream import measure

SCRIPT = Path(__file__).parents[3] / "scripts" / "bench" / "estimates.py"
METRICS = ("pcc", "cosine", "euclidean")
HEAD = "lm_head.weight"


def estimated(base, paths, pairs, size, **options):
    samples = {name: take_sample(base, folder, size=size) for name, folder in paths.items()}
    return estimates(take_sample(base, size=size), samples, pairs, METRICS, **options)


@pytest.fixture
def written(workshop):
    """A base and models that share less and less with it."""
    base, models = workshop.family("abcd", vocabulary=3000)
    models["c"][HEAD] = models["c"][HEAD][:2900]
    del models["d"][HEAD]
    models["same"] = dict(base)
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    return workshop.write("base", base), paths


def exact(base, paths, pair):
    measured = measure(base, {name: paths[name] for name in pair}, base_id="base")
    return Statistics.merge([measured])


def test_a_sample_of_everything_is_exact(written):
    base, paths = written
    pairs = list(itertools.combinations(paths, 2))
    told = estimated(base, paths, pairs, size=10**9)[""]
    for metric, (a, b) in itertools.product(METRICS, pairs):
        value, error = told[metric][a, b]
        expected = exact(base, paths, (a, b)).pair(metric, a, b)
        if expected is None:
            assert value is None, "a model equal to the base"
        else:
            assert value == pytest.approx(expected, rel=1e-8, abs=1e-9), (metric, a, b)
        assert error == 0


def test_a_pair_is_compared_over_the_rows_and_tensors_that_it_has(written):
    base, paths = written
    pairs = list(itertools.combinations("abcd", 2))
    told = estimated(base, paths, pairs, size=20_000)[""]
    for metric, (a, b) in itertools.product(METRICS, pairs):
        value, error = told[metric][a, b]
        expected = exact(base, paths, (a, b)).pair(metric, a, b)
        assert 0 < error < 0.1 * max(1, expected)
        assert abs(value - expected) <= error, (metric, a, b)
    alone = estimated(base, {name: paths[name] for name in "bd"}, [("b", "d")], size=20_000)[""]
    assert alone["pcc"]["b", "d"] == pytest.approx(told["pcc"]["b", "d"], rel=1e-9)


def test_parts_of_a_model_have_estimates_of_their_own(written):
    base, paths = written
    parts = parts_of(["*norm*"], kind_of)
    told = estimated(base, paths, [("a", "b")], size=20_000, parts=parts)
    assert set(told) == {"", "attention", "mlp", "embedding"}
    statistics = exact(base, paths, "ab").without("*norm*")
    for part, of_part in {"": statistics, **statistics.split_by(kind_of)}.items():
        value, error = told[part]["cosine"]["a", "b"]
        assert abs(value - of_part.pair("cosine", "a", "b")) <= error


def test_a_sample_is_read_by_position(workshop, monkeypatch):
    """The bytes of the runs and no others, whatever the size of the file."""
    base, _ = workshop.family("a", vocabulary=60_000, hidden=128)
    folder = workshop.write("base", base)
    asked = []
    preadv = __import__("os").preadv

    def counted(file, buffers, position):
        asked.append(sum(len(buffer) for buffer in buffers))
        return preadv(file, buffers, position)

    monkeypatch.setattr("os.preadv", counted)
    sample = take_sample(folder, size=50_000)
    assert sum(asked) == 4 * sample.held
    assert sample.held < 60_000 < sum(weight.numel() for weight in base.values()) / 100
    assert Sample.from_bytes(sample.to_bytes()).shape(sample) == sample.shape(sample)


@pytest.fixture(scope="module")
def bench():
    """The benchmark's own models, merges and comparison."""
    spec = importlib.util.spec_from_file_location("bench_estimates", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", ["slerp", "ties", "dare_ties"])
def test_at_least_95_of_100_exact_values_lie_in_their_intervals(bench, tmp_path, method):
    """Three generations of real mergekit output in bfloat16, all pairs, three samples of each.

    The errors of one sample are alike, since its models are; so the share is over the samples.
    """
    logging.disable(logging.ERROR)  # these models have no tokenizer, and mergekit minds
    try:
        family = bench.make_family(tmp_path, bench.Shape(), "bfloat16", (0.03, 0.02, 0.05))
        lineage = bench.breed(family, method, "bfloat16")
    finally:
        logging.disable(logging.NOTSET)
    assert len(lineage.models) == 12
    base = lineage.folders["base"]
    found = [bench.cover(base, lineage.models, 100_000, seed) for seed in range(3)]
    for one in found:
        assert sum(map(len, one.rows.values())) == 3 * 66
        assert one.held < 130_000
        assert max(bar for _, bar in one.rows["pcc"]) < 0.05, "an interval that says something"
        assert max(error for error, _ in one.rows["pcc"]) > 1e-5, "not all is in the sample"
    assert sum(one.within for one in found) / len(found) >= 0.95
