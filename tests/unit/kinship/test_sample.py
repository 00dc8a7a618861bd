"""Samples: the same places for ever, read right, and stored."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from evomerge.kinship.errors import PassFormatError
from evomerge.kinship.places import LEAST, RUN, coordinates
from evomerge.kinship.sample import Sample, as_floats, take_sample


def write(folder, weights):
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture
def folders(tmp_path):
    torch.manual_seed(0)
    base = {"embed": torch.randn(900, 40), "norm": torch.randn(40), "lm_head": torch.randn(900, 40)}
    model = {"embed": torch.randn(600, 40), "norm": torch.randn(40)}
    return {
        "base": write(tmp_path / "base", base),
        "model": write(tmp_path / "model", {k: v.bfloat16() for k, v in model.items()}),
        "weights": model,
    }


def test_places_never_change():
    found = coordinates("model.layers.0.mlp.up_proj.weight", 58_720_256, 1_000_000, 7 * 10**9, 0)
    assert len(found) == 8400
    digest = hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "8fa099b21477701d"


@pytest.mark.parametrize("count", [1, 15, 16, 300, 4096, 99_999, 1_000_003])
@pytest.mark.parametrize("size", [1000, 50_000, 2_000_000])
def test_places_are_distinct_ascending_and_as_many_as_asked_for(count, size):
    found = coordinates("w", count, size, 2_000_000, 7)
    wanted = max(LEAST, size * count / 2_000_000)
    assert (np.diff(found) > 0).all()
    assert 0 <= found[0] <= found[-1] < count
    assert min(count, wanted) <= len(found) <= min(count, wanted + 2 * RUN)


def test_places_are_spread_evenly():
    found = coordinates("w", 1 << 20, 1 << 14, 1 << 20, 0)
    counts = np.bincount(found * 16 // (1 << 20))
    assert counts.min() == counts.max()
    assert not np.array_equal(found, coordinates("w", 1 << 20, 1 << 14, 1 << 20, 1))


def test_weights_come_from_their_places(folders):
    sample = take_sample(folders["base"], folders["model"], size=9000)
    one = sample.tensors["embed"]
    places = coordinates("embed", 36_000, 9000, 72_040, 0)
    places = places[places < 24_000]
    expected = folders["weights"]["embed"].bfloat16().flatten()[places].double().numpy()
    np.testing.assert_array_equal(as_floats(one.weights, one.dtype), expected)
    assert set(sample.tensors) == {"embed", "norm"}
    assert len(sample.tensors["norm"].weights) == 40
    assert sample.length("embed", 12_000) == np.searchsorted(places, 12_000)


def test_a_sample_as_large_as_the_model_is_the_model(folders):
    sample = take_sample(folders["base"], size=10**6)
    assert sample.held == 72_040


def test_bytes_and_back(folders):
    sample = take_sample(folders["base"], folders["model"], size=9000, seed=3)
    data = sample.to_bytes()
    again = Sample.from_bytes(data)
    assert again.layout == sample.layout
    for name, one in sample.tensors.items():
        np.testing.assert_array_equal(one.weights, again.tensors[name].weights)
    assert again.to_bytes() == data


def test_damaged_bytes_are_refused(folders):
    data = take_sample(folders["base"], size=9000).to_bytes()
    for broken in (b"", data[: len(data) // 2], data[:-200], b"PK" + data[9:]):
        with pytest.raises(PassFormatError):
            Sample.from_bytes(broken)
