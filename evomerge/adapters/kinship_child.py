"""Child side of the kinship meter: loads stored passes, measures what is missing, derives."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import Metric
from evomerge.kinship import KinshipError, Pass, Statistics, missing_pairs
from evomerge.kinship.errors import PassFormatError
from evomerge.ports import Progress
from evomerge.store.atomic import make_folder, write_atomic

_SUFFIX = ".pass"


def measure(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Readings of `pairs` under every metric, in their order, as JSON."""
    return {"readings": _readings(_statistics(payload, progress), payload["pairs"])}


def tabulate(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Matrices of `metrics` over all models, in all and by `by`, and what is worth a warning.

    {"parts": {"": {metric: [[value]]}, <layer, kind or tensor>: {...}}, "warnings": [text]};
    `split` asks for the mean over tensors instead of the similarity of the whole delta.
    """
    statistics = _statistics(payload, progress)
    parts = {"": statistics}
    if payload["by"] is not None:
        by = {
            "layer": statistics.by_layer,
            "kind": statistics.by_kind,
            "tensor": statistics.by_tensor,
        }
        parts |= by[payload["by"]]()
    tables = {
        name: {metric: part.matrix(metric, split=payload["split"]) for metric in payload["metrics"]}
        for name, part in parts.items()
    }
    return {"parts": tables, "warnings": list(_warnings(statistics))}


def _statistics(payload: Mapping[str, Any], progress: Progress) -> Statistics:
    """The statistics of all models; only what no stored pass holds is read from weights."""
    folders = {name: Path(folder) for name, folder in payload["models"].items()}
    passes = None if payload["passes"] is None else Path(payload["passes"])
    try:
        known = [] if passes is None else read_passes(passes)
        if missing_pairs(known, folders):
            known.append(_measure_missing(payload, folders, known, progress))
            if passes is not None:
                store_pass(passes, known[-1])
        return Statistics.merge(known, list(folders)).without(*payload["exclude"])
    except CandidateError:
        raise
    except KinshipError as error:
        raise CandidateError(error.message, error.remedy) from error


def _warnings(statistics: Statistics) -> Iterator[str]:
    for model in statistics.equal_to_base:
        yield f"{model} equals the base: its pcc and cosine are undefined"
    for name, models in statistics.absent.items():
        yield f"{name} is left out: {', '.join(models)} lack it"
    for model, names in statistics.extra.items():
        yield f"{model} has tensors that the base lacks, left out: {', '.join(names)}"
    for model, skipped in statistics.skipped.items():
        yield f"{model}: left out {', '.join(f'{name} ({why})' for name, why in skipped.items())}"
    for tensor in statistics.cut:
        yield f"{tensor.name}: {tensor.rows} of {tensor.base_rows} rows are common to all models"


def _measure_missing(
    payload: Mapping[str, Any], folders: Mapping[str, Path], known: list[Pass], progress: Progress
) -> Pass:
    from evomerge.kinship import measure as measure_weights

    return measure_weights(
        Path(payload["base"]),
        folders,
        base_id=payload["base_id"],
        known=known,
        progress=progress,
    )


def read_passes(folder: Path) -> list[Pass]:
    """All stored passes of one base, oldest name first."""
    passes = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            data = path.read_bytes()
            if _name(data) != path.name:
                raise PassFormatError("its content is not what was written")
            passes.append(Pass.from_bytes(data))
        except (OSError, PassFormatError) as error:
            # A pass is a cache: what it told is measured again.
            sys.stderr.write(f"{path} is left out: {error}\n")
    return passes


def store_pass(folder: Path, measured: Pass) -> None:
    """Add a pass; equal passes of two runs have one name."""
    data = measured.to_bytes()
    make_folder(folder)
    write_atomic(folder / _name(data), data)


def _name(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:32]}{_SUFFIX}"


def _readings(statistics: Statistics, pairs: list[list[str]]) -> list[dict[str, Any]]:
    matrices = {str(metric): statistics.matrix(metric) for metric in Metric}
    place = {name: index for index, name in enumerate(statistics.models)}
    return [
        {"models": [a, b]}
        | {metric: _rounded(matrix[place[a]][place[b]]) for metric, matrix in matrices.items()}
        for a, b in pairs
    ]


def _rounded(value: float | None) -> float | None:
    """Nine digits: the last bits depend on the pass a product was taken in, a decision must not."""
    return None if value is None else float(f"{value:.9g}")


OPERATIONS: dict[str, Callable[[dict[str, Any], Progress], dict[str, Any]]] = {
    "measure": measure,
    "tabulate": tabulate,
}
