"""The child's side of `evomerge.adapters.kinship`: the operations by kind.

Inputs are the folders of `base` and `models`, by the names in `arguments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evomerge.adapters.kinship_files import samples
from evomerge.adapters.kinship_statistics import compared, inputs_of, left
from evomerge.adapters.kinship_tables import tabulate
from evomerge.adapters.serve import Do
from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import Metric, Pair
from evomerge.kinship.errors import KinshipError
from evomerge.kinship.passes import FORMAT
from evomerge.kinship.statistics import Statistics
from evomerge.ports import Operation, Progress


def measure(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Readings of `pairs` under every metric, in the order of `pairs`, as JSON."""
    arguments = operation.arguments
    pairs = [(a, b) for a, b in arguments["pairs"]]
    found: dict[Pair, dict[str, Any]] = {}
    for group, statistics in compared(operation, pairs, {*pairs}, progress, formats={FORMAT}):
        found |= _readings(left(statistics, arguments["exclude"]), group)
    return {"readings": [found[pair] for pair in pairs]}


def sample(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Store samples of the base and of every model that has none yet."""
    (base, folders), arguments = inputs_of(operation), operation.arguments
    samples(Path(arguments["passes"]), (arguments["base"], base), folders)
    progress(len(folders), len(folders))
    return {}


def parity(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Matrices as the public tool defines them, in the form of `tabulate`."""
    from evomerge.kinship.parity import parity as of_the_public_tool

    arguments = operation.arguments
    base, folders = inputs_of(operation)
    try:
        found = of_the_public_tool(
            base,
            folders,
            metrics=arguments["metrics"],
            split=arguments["split"],
            progress=progress,
        )
    except KinshipError as error:
        raise CandidateError(error.message, error.remedy) from error
    return {"parts": {"": found.values}, "errors": {}, "warnings": list(found.notes)}


def _readings(statistics: Statistics, pairs: Sequence[Pair]) -> dict[Pair, dict[str, Any]]:
    matrices = {str(metric): statistics.matrix(metric) for metric in Metric}
    place = {name: index for index, name in enumerate(statistics.models)}
    return {
        (a, b): {"models": [a, b]}
        | {metric: _rounded(matrix[place[a]][place[b]]) for metric, matrix in matrices.items()}
        for a, b in pairs
    }


def _rounded(value: float | None) -> float | None:
    """Rounded to nine significant digits, the precision of journals."""
    return None if value is None else float(f"{value:.9g}")


def operations(device: str) -> dict[str, Do]:
    """The operations of this module; they run on the CPU."""
    return {"measure": measure, "parity": parity, "sample": sample, "tabulate": tabulate}
