"""The kinship worker: measures in a child process and stores every pass in the shared store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from evomerge.adapters.child import Child
from evomerge.ports import Operation, Progress, Worker

BASE = "base model"
"""The id of the base where models have user-given names, which contain no spaces."""


Parts: TypeAlias = Mapping[str, Mapping[str, list[list[float | None]]]]


@dataclass(frozen=True)
class KinshipTables:
    """Kinship of several models.

    Attributes:
        parts: matrices by part and metric, [models][models], None where undefined; part "" is
            the whole model.
        errors: half the widths of the intervals of estimates, in the same form; at least 95 of
            100 true values lie within. None for measured pairs.
        warnings: one sentence for each left-out tensor or undefined entry.
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
    measure: bool = True,
    passes: Path | None = None,
    base_id: str = BASE,
    progress: Progress,
) -> KinshipTables:
    """The kinship of all `models`, independent of a run.

    Args:
        passes: folder of stored passes over this base, which is read and extended; the names in
            `models` and `base_id` must then be content ids.
        measure: measure pairs without a stored pass if the weights exist, instead of estimating
            them from samples.

    Raises:
        CandidateError: a model cannot be measured; names the model and the tensor.
    """
    arguments = {
        "base": base_id,
        "passes": None if passes is None else str(passes),
        "exclude": list(exclude),
        "metrics": list(metrics),
        "by": by,
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
    progress: Progress,
) -> KinshipTables:
    """The kinship of all `models` as the public tool defines it; see `evomerge.kinship.parity`.

    Raises:
        CandidateError: the public tool fails on these models.
    """
    arguments = {"base": BASE, "metrics": list(metrics), "split": split}
    return _tables("parity", arguments, base, models, log, progress)


def worker(log: Path, start: Callable[..., Worker] = Child) -> Worker:
    """The worker for all operations here, a child process that lives until closed.

    Args:
        log: file for the child's output.
        start: makes the worker, with the arguments of `Child`.
    """
    kinds = {"measure", "sample", "tabulate", "parity"}
    return start("evomerge.adapters.kinship_child", kinds, log, name="kinship")


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
