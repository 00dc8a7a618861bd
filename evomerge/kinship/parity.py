"""Kinship as computed by the public tool (`merge_cal` of zjunlp/ModelKinship at f3f4eb2).

Differences from `stream`:

    rows        every tensor of a model is cut to as many rows as the base's lm_head.weight has, but
                the base's is not: a base with more rows than that, or a model with fewer, is an
                error (in split mode the tensor is left out)
    lm_head     a tied output head counts as a second tensor; without any the tool fails
    cs          sqrt(<a,b>^2 / (<a,a> <b,b>)): the sign of a cosine is lost
    split       the mean over tensors of their kinships, weighted by their elements, undefined ones
                left out; of euclidean too, so that it is a mean of distances

Not reproduced: `--low-precision`, which rounds deltas to 255 steps; and the tool's sums in float32
over whole models, which are wrong at scale (a pcc of 0.895 comes out as 0.8997 at 0.25B parameters
and 0.9496 at 1.8B). Here products are summed in float64, so the two agree on small models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from evomerge.kinship.errors import KinshipError
from evomerge.kinship.headers import StoredTensor, read_folder
from evomerge.kinship.matching import FLOATS
from evomerge.kinship.passes import Floats
from evomerge.kinship.tensors import read

METRICS = ("pcc", "cosine_abs", "euclidean")
"""The tool's pcc, cs and ed."""

_HEAD = "lm_head.weight"
_CHUNK = 1 << 22

Folder = Mapping[str, StoredTensor]
Values = dict[str, list[list[float | None]]]


@dataclass(frozen=True)
class Parity:
    """Matrices [models][models] by metric, None where undefined; `notes` say what was left out."""

    values: Values
    notes: tuple[str, ...]


@dataclass
class _Sums:
    """n, sum a, sum b, <a,a>, <b,b>, <a,b> and |a - b|^2 in float64."""

    terms: Floats = field(default_factory=lambda: np.zeros(7))

    def add(self, a: torch.Tensor, b: torch.Tensor) -> None:
        a, b = a.double(), b.double()
        apart = a - b
        terms = (a.sum(), b.sum(), a @ a, b @ b, a @ b, apart @ apart)
        self.terms += np.array([a.numel(), *(float(term) for term in terms)])

    def value(self, metric: str) -> float:
        """NaN where undefined."""
        n, sum_a, sum_b, aa, bb, ab, apart = self.terms
        with np.errstate(invalid="ignore", divide="ignore"):
            if metric == "euclidean":
                return float(np.sqrt(apart))
            if metric == "cosine_abs":
                return float(np.sqrt(ab**2 / (aa * bb)))
            products = ab - sum_a * sum_b / n
            variances = (aa - sum_a**2 / n) * (bb - sum_b**2 / n)
            return float(np.clip(products / np.sqrt(variances), -1, 1))


def parity(
    base: Path,
    models: Mapping[str, Path],
    *,
    metrics: Sequence[str] = METRICS,
    split: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Parity:
    """The kinship of all pairs as the public tool defines it.

    Raises:
        KinshipError: the tool lacks a metric, or fails on these models; says where.
    """
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown:
        raise KinshipError(f"the public tool has no {', '.join(unknown)}", f"{', '.join(METRICS)}")
    ours, theirs = state(base), {name: state(folder) for name, folder in models.items()}
    if _HEAD not in ours:
        raise KinshipError(f"the base has no {_HEAD}: the public tool fails on it")
    names = list(models)
    result: Values = {m: [[None] * len(names) for _ in names] for m in metrics}
    for metric in metrics:
        for place in range(len(names)):
            result[metric][place][place] = 0.0 if metric == "euclidean" else 1.0
    notes: dict[str, None] = {}
    pairs = list(combinations(range(len(names)), 2))
    for done, (i, j) in enumerate(pairs):
        if progress is not None:
            progress(done, len(pairs))
        a, b = theirs[names[i]], theirs[names[j]]
        shared, left_out = _shared(ours, a, b, split=split)
        notes |= dict.fromkeys(left_out)
        parts = _by_tensor if split else _whole
        for metric, value in parts(ours, (a, b), shared, metrics).items():
            defined = None if np.isnan(value) else value
            result[metric][i][j] = result[metric][j][i] = defined
    return Parity(result, tuple(notes))


def state(folder: Path) -> dict[str, StoredTensor]:
    """The floating-point tensors that transformers' state_dict holds, a tied head included."""
    tensors = {name: one for name, one in read_folder(folder).items() if one.dtype in FLOATS}
    config = json.loads((folder / "config.json").read_bytes())
    embedding = next((one for name, one in tensors.items() if "embed_tokens" in name), None)
    if _HEAD not in tensors and config.get("tie_word_embeddings") and embedding is not None:
        tensors[_HEAD] = embedding
    return tensors


def _shared(base: Folder, a: Folder, b: Folder, *, split: bool) -> tuple[list[str], list[str]]:
    """The names of the tensors to compare, and why others are not."""
    cut, shared, notes = base[_HEAD].rows, [], []
    for name, one in base.items():
        if name not in a or name not in b:
            notes.append(f"{name} is left out: a model lacks it")
            continue
        rows = [min(model[name].rows, cut) for model in (a, b)]
        if any(each != one.rows for each in rows):
            why = f"{name} has {one.rows} rows in the base and {min(rows)} in a model cut to {cut}"
            if not split:
                raise KinshipError(f"the public tool fails here: {why}", "--split leaves it out")
            notes.append(f"{why}: left out")
            continue
        shared.append(name)
    return shared, notes


def _whole(
    base: Folder, pair: tuple[Folder, Folder], names: Sequence[str], metrics: Sequence[str]
) -> dict[str, float]:
    sums = _Sums()
    for a, b in _deltas(base, pair, names):
        sums.add(a, b)
    return {metric: sums.value(metric) for metric in metrics}


def _by_tensor(
    base: Folder, pair: tuple[Folder, Folder], names: Sequence[str], metrics: Sequence[str]
) -> dict[str, float]:
    totals = {metric: np.zeros(2) for metric in metrics}
    for name in names:
        count = base[name].rows * base[name].row_size
        for metric, value in _whole(base, pair, [name], metrics).items():
            if not np.isnan(value):
                totals[metric] += (value * count, count)
    return {m: float(s / n) if n else float("nan") for m, (s, n) in totals.items()}


def _deltas(
    base: Folder, pair: tuple[Folder, Folder], names: Sequence[str]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The deltas of both models in float32, chunk by chunk."""
    for name in names:
        count = base[name].rows * base[name].row_size
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            origin = read(base[name], start, stop)
            a, b = (read(model[name], start, stop) - origin for model in pair)
            yield a, b
