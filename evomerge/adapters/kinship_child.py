"""Child side of the kinship meter: loads stored passes, measures what is missing, derives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import Metric
from evomerge.kinship import KinshipError, Pass, Statistics, missing_pairs
from evomerge.ports import Progress
from evomerge.store.atomic import make_folder, write_atomic

_SUFFIX = ".pass"


def measure(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Readings of `pairs` under every metric, in their order, as JSON."""
    folders = {name: Path(folder) for name, folder in payload["models"].items()}
    passes = Path(payload["passes"])
    try:
        known = read_passes(passes)
        if missing_pairs(known, folders):
            known.append(_measure_missing(payload, folders, known, progress))
            store_pass(passes, known[-1])
        statistics = Statistics.merge(known, list(folders)).without(*payload["exclude"])
    except CandidateError:
        raise
    except KinshipError as error:
        raise CandidateError(error.message, error.remedy) from error
    return {"readings": _readings(statistics, payload["pairs"])}


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
    return [Pass.from_bytes(path.read_bytes()) for path in sorted(folder.glob(f"*{_SUFFIX}"))]


def store_pass(folder: Path, measured: Pass) -> None:
    """Add a pass; equal passes of two runs have one name."""
    data = measured.to_bytes()
    make_folder(folder)
    write_atomic(folder / f"{hashlib.sha256(data).hexdigest()[:32]}{_SUFFIX}", data)


def _readings(statistics: Statistics, pairs: list[list[str]]) -> list[dict[str, Any]]:
    matrices = {str(metric): statistics.matrix(metric) for metric in Metric}
    place = {name: index for index, name in enumerate(statistics.models)}
    return [
        {"models": [a, b]}
        | {metric: matrix[place[a]][place[b]] for metric, matrix in matrices.items()}
        for a, b in pairs
    ]


OPERATIONS: dict[str, Callable[[dict[str, Any], Progress], dict[str, Any]]] = {"measure": measure}
