"""Child side of the kinship meter: loads stored passes, measures what is missing, derives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evomerge.adapters.kinship_files import read_passes, samples, store_pass
from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import Metric
from evomerge.kinship import KinshipError, Pass, Statistics, missing_pairs
from evomerge.ports import Progress


def measure(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Readings of `pairs` under every metric, in their order, as JSON."""
    return {"readings": _readings(_statistics(payload, progress), payload["pairs"])}


def tabulate(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Matrices of `metrics` over all models, in all and by `by`, and what is worth a warning.

    {"parts": {"": {metric: [[value]]}, <layer, kind or tensor>: {...}}, "warnings": [text]};
    `split` asks for the mean over tensors instead of the similarity of the whole delta.
    """
    whole = _whole(payload, progress)
    statistics = _left(whole, payload["exclude"])
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
    idle = (f"{one!r} leaves out no tensor" for one in payload["exclude"] if not whole.named(one))
    return {"parts": tables, "warnings": [*idle, *_warnings(statistics)]}


def parity(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Matrices as the public tool defines them, in the form of `tabulate`."""
    from evomerge.kinship.parity import parity as of_the_public_tool

    try:
        found = of_the_public_tool(
            Path(payload["base"]),
            {name: Path(folder) for name, folder in payload["models"].items()},
            metrics=payload["metrics"],
            split=payload["split"],
            low_precision=payload["low_precision"],
            progress=progress,
        )
    except KinshipError as error:
        raise CandidateError(error.message, error.remedy) from error
    return {"parts": {"": found.values}, "warnings": list(found.notes)}


def _statistics(payload: Mapping[str, Any], progress: Progress) -> Statistics:
    """The statistics of all models over the tensors that are not left out."""
    return _left(_whole(payload, progress), payload["exclude"])


def _left(whole: Statistics, exclude: Sequence[str]) -> Statistics:
    left = whole.without(*exclude)
    if exclude and not left.tensors:
        named = ", ".join(repr(pattern) for pattern in exclude)
        raise CandidateError(f"{named} leave out every tensor", "exclude fewer of them")
    return left


def _whole(payload: Mapping[str, Any], progress: Progress) -> Statistics:
    """The statistics of all models; only what no stored pass holds is read from weights."""
    folders = {name: Path(folder) for name, folder in payload["models"].items()}
    passes = None if payload["passes"] is None else Path(payload["passes"])
    try:
        known = [] if passes is None else read_passes(passes, folders)
        if missing_pairs(known, folders):
            known.append(_measure_missing(payload, folders, known, progress))
            if passes is not None:
                store_pass(passes, known[-1])
                # While the weights are in the page cache; needed when the weights may be gone.
                samples(passes, (payload["base_id"], Path(payload["base"])), folders)
        return Statistics.merge(known, list(folders))
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
    "parity": parity,
    "tabulate": tabulate,
}
