"""The compiled kernel against the torch path and float64, and what it does without a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from evomerge.kinship.errors import KinshipError
from evomerge.kinship.headers import read_folder, read_header
from evomerge.kinship.kernel import WORTH_COMPILING, choose_kernel
from evomerge.kinship.products import BLOCK, Products
from evomerge.kinship.stream import measure

pytest.importorskip("numba")
from evomerge.kinship import compiled

CPU = torch.device("cpu")
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
ROOT = Path(__file__).parents[3]


def in_float64(weights, known):
    """The Gram rows as `total` gives them, and the product of the lengths of both."""
    base = weights[0].double().numpy()
    rows = np.array([np.ones(len(base)), *(w.double().numpy() - base for w in weights[1:])])
    chosen = rows[1 + known :]
    lengths = np.sqrt(np.outer((chosen**2).sum(axis=1), (rows**2).sum(axis=1)))
    return chosen @ rows.T, np.maximum(lengths, np.finfo(float).tiny)


def stored_in(folder, weights):
    """Weights as tensors of files of their own."""
    for number, weight in enumerate(weights):
        save_file({"w": weight}, folder / f"{number}.safetensors")
    return [read_header(folder / f"{number}.safetensors")["w"] for number in range(len(weights))]


@st.composite
def pieces(draw):
    known, new = draw(st.integers(0, 9)), draw(st.integers(1, 9))
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1 + known + new,
                           max_size=1 + known + new))  # fmt: skip
    length = draw(st.sampled_from([1, 7, 1023, 1024, 1025, 5000, 60_000]))
    return known, dtypes, length, draw(st.integers(0, 2**31)), draw(st.floats(-120, 100))


@settings(max_examples=25, deadline=None)
@given(pieces(), st.sampled_from([1, 2, 16]))
def test_it_is_the_torch_path_to_the_bit_and_float64(tmp_path_factory, piece, blocks):
    known, dtypes, length, seed, exponent = piece
    draw = torch.Generator().manual_seed(seed)
    base = torch.randn(length, generator=draw)
    weights = [base, *(base + 0.1 * torch.randn(length, generator=draw) for _ in dtypes[1:])]
    weights = [(2.0**exponent * one).to(dtype) for one, dtype in zip(weights, dtypes, strict=True)]
    weights = [one.nan_to_num(0, 0, 0) for one in weights]  # beyond float16
    found = compiled.read(stored_in(tmp_path_factory.mktemp("piece"), weights), known, 0, length)
    peer = Products(known, len(dtypes) - 1 - known, length=blocks * BLOCK, device=CPU)
    for start in range(0, length, blocks * BLOCK):
        peer.add([weight[start : start + blocks * BLOCK] for weight in weights])
    assert np.array_equal(found, peer.total())
    wanted, scale = in_float64(weights, known)
    assert (np.abs(found - wanted) / scale).max() < 1.2e-6, "of a single weight at worst"


def test_every_half_number_is_decoded():
    bits = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)
    for dtype in (torch.float16, torch.bfloat16):
        values = bits.view(dtype)
        row = np.empty(len(values), np.float32)
        decode = {torch.float16: compiled._decode_float16, torch.bfloat16:
                  compiled._decode_bfloat16}[dtype]  # fmt: skip
        decode(np.uint64(values.data_ptr()), row, np.zeros_like(row), len(row))
        assert np.array_equal(row, values.float().numpy(), equal_nan=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3e38])
@pytest.mark.parametrize("place", [0, 777, 4999])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_not_finite_comes_out(tmp_path, value, place, which):
    weights = [torch.randn(5000) for _ in range(3)]
    weights[which][place] = value
    assert not np.isfinite(compiled.read(stored_in(tmp_path, weights), 1, 0, 5000)).all()


def test_both_kernels_measure_the_same_models_alike(workshop):
    """In unlike shards and dtypes. Deltas of few bits have squares that are all rounded one way."""
    base, models = workshop.family("abcd", vocabulary=9_001, hidden=96)
    folder = workshop.write("base", {name: w.bfloat16() for name, w in base.items()}, 2)
    dtypes = dict(zip(models, DTYPES, strict=True))
    paths = {
        model: workshop.write(model, {name: w.to(dtypes[model]) for name, w in weights.items()}, 3)
        for model, weights in models.items()
    }
    found = {
        measure(folder, paths, base_id="base", kernel=kernel).to_bytes()
        for kernel in ("torch", "compiled")
    }
    assert len(found) == 1


def test_a_file_that_cannot_be_read_is_told_by_python(workshop):
    base, models = workshop.family("a")
    folder = workshop.write("base", base)
    stored = [read_folder(folder)["lm_head.weight"],
              read_folder(workshop.write("a", models["a"]))["lm_head.weight"]]  # fmt: skip
    count = stored[0].rows * stored[0].row_size
    assert compiled.read(stored, 0, 0, count) is not None
    os.truncate(stored[1].file, stored[1].offset + 4 * count - 4)
    assert compiled.read(stored, 0, 0, count - 1) is not None
    assert compiled.read(stored, 0, 0, count) is None
    stored[1].file.unlink()
    assert compiled.read(stored, 0, 0, count) is None


def test_which_kernel_is_taken(monkeypatch):
    choose, cuda = choose_kernel, torch.device("cuda:0")
    assert choose("auto", CPU, WORTH_COMPILING - 1) is None
    assert choose("auto", CPU, WORTH_COMPILING) is compiled.read
    assert choose("torch", CPU, WORTH_COMPILING) is None
    assert choose("auto", cuda, WORTH_COMPILING) is None
    with pytest.raises(KinshipError, match="fastest"):
        choose("fastest", CPU, 0)
    with pytest.raises(KinshipError, match="the CPU as the device"):
        choose("compiled", cuda, 0)
    monkeypatch.setattr("evomerge.kinship.kernel.find_spec", lambda name: None)
    assert choose("auto", CPU, WORTH_COMPILING) is None
    with pytest.raises(KinshipError, match="needs numba"):
        choose("compiled", CPU, 0)


def test_a_damaged_cache_costs_time_only(tmp_path):
    compiled.prepare()
    file = tmp_path / "w.safetensors"
    save_file({"zero": torch.zeros(8), "one": torch.ones(8)}, file)
    package = tmp_path / "tree" / "evomerge"
    shutil.copytree(ROOT / "evomerge", package)
    files = list((package / "kinship" / "__pycache__").glob("compiled.*.nb[ci]"))
    assert files or not os.access(compiled.__file__, os.W_OK)
    for each in files:
        each.write_bytes(each.read_bytes()[:100])
    program = (
        "import sys; from pathlib import Path; from evomerge.kinship import compiled, headers;"
        "stored = headers.read_header(Path(sys.argv[1]));"
        "assert compiled.read([stored['zero'], stored['one']], 0, 0, 8)[0, 0] == 8;"
        "print(compiled.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        cwd=package.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.strip()).parent == package / "kinship"
