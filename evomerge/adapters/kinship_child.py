"""The child's side of `evomerge.adapters.kinship`: loads stored passes, measures what is missing.

Inputs are the folders of `base` and `models`, as `arguments` name them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, TypeAlias

from evomerge.adapters.kinship_files import read_passes, samples, store_pass
from evomerge.adapters.serve import Do
from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import Metric, Pair
from evomerge.kinship import KinshipError, Pass, Statistics, missing_pairs
from evomerge.kinship.headers import read_folder
from evomerge.kinship.matching import match
from evomerge.kinship.passes import FORMAT, Shape
from evomerge.kinship.union import alike, pairs_of
from evomerge.ports import Operation, Progress

Matrix: TypeAlias = list[list[float | None]]


def measure(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Readings of `pairs` under every metric, in their order, as JSON."""
    asked = operation.arguments
    pairs = [(a, b) for a, b in asked["pairs"]]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for group, statistics in _compared(operation, pairs, progress, formats={FORMAT}):
        found |= _readings(_left(statistics, asked["exclude"]), group)
    return {"readings": [found[pair] for pair in pairs]}


def tabulate(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Matrices of `metrics` over all models, in all and by `by`, and what is worth a warning.

    {"parts": {"": {metric: [[value]]}, <layer, kind or tensor>: {...}}, "warnings": [text]};
    `split` asks for the mean over tensors instead of the similarity of the whole delta.
    """
    asked = operation.arguments
    names = list(asked["models"])
    empty: dict[str, Matrix] = {
        metric: [[None for _ in names] for _ in names] for metric in asked["metrics"]
    }
    tables: dict[str, dict[str, Matrix]] = {}
    warnings: dict[str, None] = {}
    idle = set(asked["exclude"])
    every = list(combinations_with_replacement(names, 2))
    for group, whole in _compared(operation, every, progress, formats={1, FORMAT}):
        idle -= {pattern for pattern in idle if whole.named(pattern)}
        statistics = _left(whole, asked["exclude"])
        warnings |= dict.fromkeys(_warnings(statistics))
        for part, of_part in _parts(statistics, asked["by"]).items():
            table = tables.setdefault(part, deepcopy(empty))
            for metric in asked["metrics"]:
                matrix = of_part.matrix(metric, split=asked["split"])
                for a, b in group:
                    value = matrix[of_part.models.index(a)][of_part.models.index(b)]
                    i, j = names.index(a), names.index(b)
                    table[metric][i][j] = table[metric][j][i] = value
    unused = [f"{each!r} leaves out no tensor" for each in asked["exclude"] if each in idle]
    return {"parts": tables, "warnings": [*unused, *warnings]}


def _parts(statistics: Statistics, by: str | None) -> dict[str, Statistics]:
    if by is None:
        return {"": statistics}
    ways = {
        "layer": statistics.by_layer,
        "kind": statistics.by_kind,
        "tensor": statistics.by_tensor,
    }
    return {"": statistics, **ways[by]()}


def parity(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Matrices as the public tool defines them, in the form of `tabulate`."""
    from evomerge.kinship.parity import parity as of_the_public_tool

    asked = operation.arguments
    base, folders = _inputs(operation)
    try:
        found = of_the_public_tool(
            base,
            folders,
            metrics=asked["metrics"],
            split=asked["split"],
            low_precision=asked["low_precision"],
            progress=progress,
        )
    except KinshipError as error:
        raise CandidateError(error.message, error.remedy) from error
    return {"parts": {"": found.values}, "warnings": list(found.notes)}


def _inputs(operation: Operation) -> tuple[Path, dict[str, Path]]:
    """The folder of the base, and those of the models by name."""
    folders = {name: operation.inputs[name] for name in operation.arguments["models"]}
    return operation.inputs[operation.arguments["base"]], folders


def _left(whole: Statistics, exclude: Sequence[str]) -> Statistics:
    """The statistics over the tensors that are not left out."""
    left = whole.without(*exclude)
    if exclude and not left.tensors:
        named = ", ".join(repr(pattern) for pattern in exclude)
        raise CandidateError(f"{named} leave out every tensor", "exclude fewer of them")
    return left


def _compared(
    operation: Operation, pairs: Sequence[Pair], progress: Progress, formats: Collection[int]
) -> Iterator[tuple[list[Pair], Statistics]]:
    """The statistics that tell of `pairs`, for those at a time whose models agree in their rows.

    Only what no stored pass of these `formats` holds is read from weights.
    """
    (base, folders), asked = _inputs(operation), operation.arguments
    store, base_id = asked["passes"] and Path(asked["passes"]), asked["base"]
    try:
        stored = read_passes(store, folders) if store else []
        known = [one for one in stored if one.format in formats]
        shapes = _shapes(base_id, base, folders, known)
        for group in alike(shapes, pairs):
            models = list(dict.fromkeys(model for pair in group for model in pair))
            missing = missing_pairs(known, models, group)
            if missing:
                wanted = [pair for pair in group if missing & pairs_of((), [pair])]
                lacking = {model: folders[model] for pair in wanted for model in pair}
                known.append(_measure((base_id, base), lacking, wanted, known, progress))
                if store:
                    store_pass(store, known[-1])
                    # While the weights are in the page cache; needed when they may be gone.
                    samples(store, (base_id, base), folders)
            yield group, Statistics.merge(known, models, group)
    except CandidateError:
        raise
    except KinshipError as error:
        raise CandidateError(error.message, error.remedy) from error


def _shapes(
    base_id: str, base: Path, folders: Mapping[str, Path], known: Sequence[Pass]
) -> dict[str, Shape]:
    """The rows of every model, from a pass or from the headers of its files."""
    found = {model: one.shape(model) for one in known for model in one.models if model in folders}
    unseen = {model: folder for model, folder in folders.items() if model not in found}
    if unseen:
        stored = {model: read_folder(folder) for model, folder in unseen.items()}
        matching = match(base_id, read_folder(base), stored)
        found |= {model: matching.shape(model) for model in unseen}
    return found


def _warnings(statistics: Statistics) -> Iterator[str]:
    for model in statistics.equal_to_base:
        yield f"{model} equals the base: its pcc and cosine are undefined"
    for name, models in statistics.absent.items():
        yield f"{name} is left out where {', '.join(models)} are compared: they lack it"
    for model, names in statistics.extra.items():
        yield f"{model} has tensors that the base lacks, left out: {', '.join(names)}"
    for model, skipped in statistics.skipped.items():
        yield f"{model}: left out {', '.join(f'{name} ({why})' for name, why in skipped.items())}"
    for tensor in statistics.cut:
        held = f"{tensor.rows} of {tensor.base_rows} rows"
        yield f"{tensor.name}: {held} are compared where a model has no more"


def _measure(
    base: tuple[str, Path],
    folders: Mapping[str, Path],
    pairs: Sequence[Pair],
    known: Sequence[Pass],
    progress: Progress,
) -> Pass:
    from evomerge.kinship import measure as measure_weights  # imports torch

    return measure_weights(
        base[1],
        folders,
        pairs,
        base_id=base[0],
        known=known,
        progress=progress,
    )


def _readings(statistics: Statistics, pairs: Sequence[Pair]) -> dict[Pair, dict[str, Any]]:
    matrices = {str(metric): statistics.matrix(metric) for metric in Metric}
    place = {name: index for index, name in enumerate(statistics.models)}
    return {
        (a, b): {"models": [a, b]}
        | {metric: _rounded(matrix[place[a]][place[b]]) for metric, matrix in matrices.items()}
        for a, b in pairs
    }


def _rounded(value: float | None) -> float | None:
    """Nine digits are enough for every use, and what journals always held."""
    return None if value is None else float(f"{value:.9g}")


def operations(device: str) -> dict[str, Do]:
    """What this module does, on the CPU."""
    return {"measure": measure, "parity": parity, "tabulate": tabulate}
