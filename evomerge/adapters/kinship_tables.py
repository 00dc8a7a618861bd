"""Kinship matrices by part of the models, measured or estimated from samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, TypeAlias

from evomerge.adapters.kinship_files import samples
from evomerge.adapters.kinship_statistics import compared, inputs_of, left, nothing_left
from evomerge.domain.kinship import Pair
from evomerge.kinship.estimates import estimates, parts_of
from evomerge.kinship.grouping import kind_of, layer_of
from evomerge.kinship.passes import FORMAT
from evomerge.kinship.statistics import Statistics
from evomerge.ports import Operation, Progress

Matrix: TypeAlias = list[list[float | None]]

_KEYS: dict[str, Callable[[str], str | None]] = {
    "layer": layer_of,
    "kind": lambda name: kind_of(name).value,
    "tensor": lambda name: name,
}
"""Functions from a tensor's name to its part, by the value of `--by`."""


def tabulate(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Matrices of `metrics` over all models, in total and by `by`, with warnings.

    {"parts": {"": {metric: [[value]]}, <layer, kind or tensor>: {...}}, "errors": as "parts",
    "warnings": [text]}. With `measure` every pair whose weights exist is measured; pairs without
    weights and without a stored pass are estimated, and `errors` has half the widths of their
    intervals, null elsewhere.
    """
    arguments = operation.arguments
    tables = _Tables(list(arguments["models"]), list(arguments["metrics"]))
    every = list(combinations_with_replacement(arguments["models"], 2))
    measured = {pair for pair in every if arguments["measure"] and _readable(operation, pair)}
    known: set[Pair] = set()
    for group, statistics in compared(operation, every, measured, progress, formats={1, FORMAT}):
        known.update(group)
        tables.add(group, statistics, arguments)
    rest = [pair for pair in every if pair not in known]
    gone = [name for name in arguments["models"] if not _readable(operation, [name])]
    if rest and arguments["measure"] and gone:
        text = f"not measured, since the weights of {', '.join(gone)} are missing"
        tables.warnings[f"{text}: `evomerge rebuild` recreates them"] = None
    if rest:
        _estimate(operation, rest, tables)
    unused = (
        f"{pattern!r} excludes no tensor"
        for pattern in arguments["exclude"]
        if not any(fnmatchcase(name, pattern) for name in tables.tensors)
    )
    return {
        "parts": tables.values,
        "errors": tables.errors,
        "warnings": [*unused, *tables.warnings],
    }


class _Tables:
    """Symmetric matrices by part and metric: values, and the errors of estimates.

    Attributes:
        tensors: names of the base's tensors in all statistics so far.
        warnings: unique, in order of appearance.
    """

    def __init__(self, names: list[str], metrics: list[str]) -> None:
        self._place = {name: index for index, name in enumerate(names)}
        self._metrics = metrics
        self.values: dict[str, dict[str, Matrix]] = {}
        self.errors: dict[str, dict[str, Matrix]] = {}
        self.tensors: set[str] = set()
        self.warnings: dict[str, None] = {}

    def add(self, pairs: Sequence[Pair], whole: Statistics, arguments: dict[str, Any]) -> None:
        """Add measured pairs."""
        self.tensors |= {tensor.name for tensor in whole.tensors}
        statistics = left(whole, arguments["exclude"])
        self.warnings |= dict.fromkeys(_warnings(statistics))
        key = _KEYS.get(arguments["by"])
        parts = {"": statistics, **({} if key is None else statistics.split_by(key))}
        place = {name: index for index, name in enumerate(statistics.models)}
        for part, of_part in parts.items():
            for metric in self._metrics:
                matrix = of_part.matrix(metric)
                for a, b in pairs:
                    self.put(part, metric, (a, b), matrix[place[a]][place[b]])

    def put(
        self, part: str, metric: str, pair: Pair, value: float | None, error: float | None = None
    ) -> None:
        """Set the entry of one pair."""
        i, j = (self._place[name] for name in pair)
        for tables, number in ((self.values, value), (self.errors, error)):
            if part not in tables:
                tables[part] = {each: self._empty() for each in self._metrics}
            tables[part][metric][i][j] = tables[part][metric][j][i] = number

    def _empty(self) -> Matrix:
        return [[None for _ in self._place] for _ in self._place]


def _estimate(operation: Operation, pairs: Sequence[Pair], tables: _Tables) -> None:
    """Estimate pairs from samples of the weights, which are taken if they are missing."""
    (base, folders), arguments = inputs_of(operation), operation.arguments
    store, base_id = arguments["passes"] and Path(arguments["passes"]), arguments["base"]
    known = samples(store, (base_id, base), folders)
    held = [(a, b) for a, b in pairs if a in known and b in known]
    if held:
        tables.tensors |= known[base_id].tensors.keys()
        parts = parts_of(arguments["exclude"], _KEYS.get(arguments["by"]))
        models = {name: known[name] for pair in held for name in pair}
        found = estimates(known[base_id], models, held, arguments["metrics"], parts)
        if not found:
            raise nothing_left(arguments["exclude"])
        for part, of_part in found.items():
            for metric, by_pair in of_part.items():
                for pair, (value, error) in by_pair.items():
                    tables.put(part, metric, pair, value, error)
    unknown = sorted({name for pair in pairs for name in pair} - known.keys())
    if unknown:
        tables.warnings[f"there are neither weights nor a sample of {', '.join(unknown)}"] = None


def _readable(operation: Operation, names: Sequence[str]) -> bool:
    """Whether the weights of these models can be read."""
    return all(any(operation.inputs[name].glob("*.safetensors")) for name in names)


def _warnings(statistics: Statistics) -> Iterator[str]:
    for model in statistics.equal_to_base:
        yield f"{model} equals the base: its pcc and cosine are undefined"
    for name, models in statistics.absent.items():
        yield f"{name} is left out of comparisons with {', '.join(models)}, which lack it"
    for model, names in statistics.extra.items():
        yield f"{model} has tensors that the base lacks, left out: {', '.join(names)}"
    for model, skipped in statistics.skipped.items():
        yield f"{model}: left out {', '.join(f'{name} ({why})' for name, why in skipped.items())}"
    for tensor in statistics.cut:
        held = f"{tensor.rows} of {tensor.base_rows} rows"
        yield f"{tensor.name}: {held} are compared, since a model has no more"
