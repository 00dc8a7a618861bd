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

from evomerge.kinship import KinshipError, Statistics, measure
from evomerge.kinship.headers import read_folder
from evomerge.kinship.kernel import WORTH_COMPILING, choose_kernel
from evomerge.kinship.products import BLOCK, EXACT, Products

pytest.importorskip("numba")
from evomerge.kinship import compiled

CPU = torch.device("cpu")
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
ROOT = Path(__file__).parents[3]


def in_float64(weights, known):
    """The Gram rows as `total` gives them, and the product of the lengths of both."""
    base = weights[0].double().numpy()
    rows = np.array([np.ones(len(base)), base, *(w.double().numpy() - base for w in weights[1:])])
    chosen = rows[[1, *range(2 + known, len(rows))]]
    lengths = np.sqrt(np.outer((chosen**2).sum(axis=1), (rows**2).sum(axis=1)))
    return chosen @ rows.T, np.maximum(lengths, np.finfo(float).tiny)


@st.composite
def chunks(draw):
    known, new = draw(st.integers(0, 9)), draw(st.integers(1, 9))
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1 + known + new,
                           max_size=1 + known + new))  # fmt: skip
    lengths = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=3))
    return known, dtypes, lengths, draw(st.integers(0, 2**31))


@settings(max_examples=25, deadline=None)
@given(chunks(), st.sampled_from([1, 7, 300, 512, 1000, BLOCK]), st.booleans())
def test_it_is_the_torch_path_and_float64(chunk, block, exact):
    known, dtypes, lengths, seed = chunk
    draw = torch.Generator().manual_seed(seed)
    new = len(dtypes) - 1 - known
    sums = compiled.CompiledProducts(known, new, length=5000, block=block, exact=exact)
    longest = -(-max(lengths) // block) * block
    peer = Products(known, new, length=longest, device=CPU, block=block, exact=exact)
    wanted = scale = 0
    for length in lengths:
        base = torch.randn(length, generator=draw)
        weights = [base, *(base + 0.1 * torch.randn(length, generator=draw) for _ in dtypes[1:])]
        weights = [weight.to(dtype) for weight, dtype in zip(weights, dtypes, strict=True)]
        sums.add(weights)
        peer.add(weights)
        gram, lengths_of = in_float64(weights, known)
        wanted, scale = wanted + gram, scale + lengths_of
    # One block errs by some 1e-7 of its own size; in float64 nothing but the order differs.
    largest = 1e-13 if exact else 1e-6
    assert (np.abs(sums.total() - wanted) / scale).max() < largest
    assert (np.abs(sums.total() - peer.total()) / scale).max() < largest


@pytest.mark.parametrize("exact", [False, True])
def test_every_half_number_is_decoded(exact):
    bits = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)
    for dtype in (torch.float16, torch.bfloat16):
        values = bits.view(dtype)
        row = np.empty(len(values), np.float64 if exact else np.float32)
        decode = {torch.float16: compiled._decode_float16, torch.bfloat16:
                  compiled._decode_bfloat16}[dtype]  # fmt: skip
        decode(np.uint64(values.data_ptr()), row, np.zeros_like(row), len(row))
        assert np.array_equal(row, values.float().numpy(), equal_nan=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 777, 4999])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_not_finite_comes_out(value, place, which):
    weights = [torch.randn(5000) for _ in range(3)]
    weights[which][place] = value
    sums = compiled.CompiledProducts(1, 1, length=5000)
    sums.add(weights)
    assert not np.isfinite(sums.total()).all()


@pytest.mark.parametrize("reader", ["mmap", "pread"])
def test_both_kernels_measure_the_same_models_alike(workshop, reader):
    """In unlike shards and dtypes. Deltas of few bits have squares that are all rounded one way."""
    base, models = workshop.family("abcd", vocabulary=9_001, hidden=96)
    folder = workshop.write("base", {name: w.bfloat16() for name, w in base.items()}, 2)
    dtypes = dict(zip(models, DTYPES, strict=True))
    paths = {
        model: workshop.write(model, {name: w.to(dtypes[model]) for name, w in weights.items()}, 3)
        for model, weights in models.items()
    }
    figures = {}
    for kernel in ("torch", "compiled"):
        first = measure(folder, {"a": paths["a"]}, base_id="base", reader=reader, kernel=kernel)
        rest = measure(folder, paths, base_id="base", known=[first], reader=reader, kernel=kernel)
        statistics = Statistics.merge([first, rest])
        figures[kernel] = [np.array(statistics.matrix(m)) for m in ("pcc", "cosine", "euclidean")]
    for ours, theirs in zip(figures["compiled"], figures["torch"], strict=True):
        assert np.allclose(ours, theirs, rtol=2e-7, atol=1e-7)
    assert max(tensor.size for tensor in read_folder(folder).values()) > EXACT


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
    choose = choose_kernel
    assert choose("auto", CPU, BLOCK, WORTH_COMPILING - 1).name == "torch"
    assert choose("auto", CPU, BLOCK, WORTH_COMPILING).name == "compiled"
    assert choose("torch", CPU, BLOCK, WORTH_COMPILING).name == "torch"
    assert choose("auto", torch.device("cuda:0"), BLOCK, WORTH_COMPILING).name == "torch"
    with pytest.raises(KinshipError, match="fastest"):
        choose("fastest", CPU, BLOCK, 0)
    with pytest.raises(KinshipError, match="the CPU as the device"):
        choose("compiled", torch.device("cuda:0"), BLOCK, 0)
    monkeypatch.setattr("evomerge.kinship.kernel.find_spec", lambda name: None)
    assert choose("auto", CPU, BLOCK, WORTH_COMPILING).name == "torch"
    with pytest.raises(KinshipError, match="needs numba"):
        choose("compiled", CPU, BLOCK, 0)


def test_a_damaged_cache_costs_time_only(tmp_path):
    compiled.prepare()
    package = tmp_path / "tree" / "evomerge"
    shutil.copytree(ROOT / "evomerge", package)
    files = list((package / "kinship" / "__pycache__").glob("compiled.*.nb[ci]"))
    assert files or not os.access(compiled.__file__, os.W_OK)
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    program = (
        "import torch; from evomerge.kinship import compiled;"
        "sums = compiled.CompiledProducts(0, 1, length=8); sums.add([torch.ones(8)] * 2);"
        "assert sums.total()[0, 0] == 8; print(compiled.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=package.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.strip()).parent == package / "kinship"
