"""The kinship meter: measures in a child process, keeps every pass in the shared store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evomerge.adapters.child import Child
from evomerge.domain.kinship import KinshipReading, Pair
from evomerge.domain.model import Foundation
from evomerge.ports import Progress

CHILD = "evomerge.adapters.kinship_child"


@dataclass(frozen=True)
class KinshipTables:
    """Kinship of several models.

    Attributes:
        parts: matrices by part and metric, [models][models], None where undefined; the part "" is
            the whole of the models.
        warnings: what was left out, and why an entry is undefined; one sentence each.
    """

    models: tuple[str, ...]
    parts: Mapping[str, Mapping[str, list[list[float | None]]]]
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
    passes: Path | None = None,
    base_id: str = "base",
    progress: Progress,
) -> KinshipTables:
    """The kinship of all `models`, without a run.

    Args:
        passes: folder of stored passes over this base, from which known products are taken and to
            which new ones are added; `models` are named by content id then.
        split: the mean of the tensors' similarities, weighted by their size.

    Raises:
        CandidateError: a model cannot be measured; names it, and the tensor.
    """
    payload = {
        "base": str(base),
        "base_id": base_id,
        "models": {name: str(folder) for name, folder in models.items()},
        "passes": None if passes is None else str(passes),
        "exclude": list(exclude),
        "metrics": list(metrics),
        "by": by,
        "split": split,
    }
    return _tables(models, log, "tabulate", payload, progress)


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
    payload = {
        "base": str(base),
        "models": {name: str(folder) for name, folder in models.items()},
        "metrics": list(metrics),
        "split": split,
        "low_precision": low_precision,
    }
    return _tables(models, log, "parity", payload, progress)


def _tables(
    models: Mapping[str, Path],
    log: Path,
    operation: str,
    payload: Mapping[str, Any],
    progress: Progress,
) -> KinshipTables:
    child = Child(CHILD, log, name="kinship")
    try:
        answer = child.call(operation, payload, progress)
    finally:
        child.close()
    return KinshipTables(tuple(models), answer["parts"], tuple(answer["warnings"]))


class StreamedKinship:
    """Implements the `KinshipMeter` port over `evomerge.kinship`.

    Args:
        base: the base model, and `folder` where its weights are.
        passes: folder of the stored passes over this base; grows, never changes.
        exclude: patterns of tensor names that are left out.
        log: file for what the child prints; or a running child, which may serve several meters.
    """

    def __init__(
        self,
        base: Foundation,
        folder: Path,
        passes: Path,
        exclude: Sequence[str],
        log: Path | Child,
    ) -> None:
        self._settings = {
            "base_id": base.content_id,
            "base": str(folder),
            "passes": str(passes),
            "exclude": list(exclude),
        }
        self._child = log if isinstance(log, Child) else Child(CHILD, log, name="kinship")

    def measure(
        self, models: Mapping[str, Path], pairs: Sequence[Pair], progress: Progress
    ) -> list[KinshipReading]:
        """The readings of `pairs`; weights are read only for pairs that no stored pass holds."""
        payload = {
            **self._settings,
            "models": {name: str(folder) for name, folder in models.items()},
            "pairs": [list(pair) for pair in pairs],
        }
        answer = self._child.call("measure", payload, progress)
        return [KinshipReading.model_validate(reading) for reading in answer["readings"]]

    def close(self) -> None:
        """End the child process."""
        self._child.close()
