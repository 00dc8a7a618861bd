"""Kinship as a worker: measures in a child process, keeps every pass in the shared store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from evomerge.adapters.child import Child
from evomerge.ports import Operation, Progress, Worker

BASE = "base model"
"""The base where models are named by their users: no name of a model has a space."""


Parts: TypeAlias = Mapping[str, Mapping[str, list[list[float | None]]]]


@dataclass(frozen=True)
class KinshipTables:
    """Kinship of several models.

    Attributes:
        parts: matrices by part and metric, [models][models], None where undefined; the part "" is
            the whole of the models.
        errors: in the same form, half the widths of the intervals of estimates; at least 95 of 100
            true values lie within. None where a pair was measured.
        warnings: what was left out, and why an entry is undefined; one sentence each.
    """

    models: tuple[str, ...]
    parts: Parts
    errors: Parts
    warnings: tuple[str, ...]


def tabulate(
    base: Path,
    models: Mapping[str, Path],
    log: Path,
    *,
    metrics: Sequence[str],
    by: Literal["layer", "kind", "tensor"] | None = None,
    exclude: Sequence[str] = (),
    split: bool = False,
    measure: bool = True,
    passes: Path | None = None,
    base_id: str = BASE,
    progress: Progress,
) -> KinshipTables:
    """The kinship of all `models`, without a run.

    Args:
        passes: folder of stored passes over this base, from which known products are taken and to
            which new ones are added; `models` are named by content id then.
        split: the mean of the tensors' similarities, weighted by their size; only of what is
            measured.
        measure: read what no stored pass holds, as far as weights are there, in the place of
            estimating it from the samples beside the passes.

    Raises:
        CandidateError: a model cannot be measured; names it, and the tensor.
    """
    arguments = {
        "base": base_id,
        "passes": None if passes is None else str(passes),
        "exclude": list(exclude),
        "metrics": list(metrics),
        "by": by,
        "split": split,
        "measure": measure,
    }
    return _tables("tabulate", arguments, base, models, log, progress)


def of_the_public_tool(
    base: Path,
    models: Mapping[str, Path],
    log: Path,
    *,
    metrics: Sequence[str],
    split: bool,
    low_precision: bool,
    progress: Progress,
) -> KinshipTables:
    """The kinship of all `models` as the public tool defines it; see `evomerge.kinship.parity`.

    Raises:
        CandidateError: the public tool fails on these models.
    """
    arguments = {
        "base": BASE,
        "metrics": list(metrics),
        "split": split,
        "low_precision": low_precision,
    }
    return _tables("parity", arguments, base, models, log, progress)


def worker(log: Path) -> Worker:
    """Who does all of these, in a child process that lives until closed.

    Args:
        log: file for what the child prints.
    """
    kinds = {"measure", "sample", "tabulate", "parity"}
    return Child("evomerge.adapters.kinship_child", kinds, log, name="kinship")


def _tables(
    kind: str,
    arguments: Mapping[str, Any],
    base: Path,
    models: Mapping[str, Path],
    log: Path,
    progress: Progress,
) -> KinshipTables:
    operation = Operation(
        kind=kind,
        arguments={**arguments, "models": list(models)},
        inputs={arguments["base"]: base, **models},
    )
    child = worker(log)
    try:
        answer = child.run(operation, progress)
    finally:
        child.close()
    return KinshipTables(
        tuple(models), answer["parts"], answer["errors"], tuple(answer["warnings"])
    )
