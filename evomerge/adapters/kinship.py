"""The kinship meter: measures in a child process, keeps every pass in the shared store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evomerge.adapters.child import Child
from evomerge.domain.kinship import KinshipReading, Pair
from evomerge.domain.model import Foundation
from evomerge.ports import Progress

CHILD = "evomerge.adapters.kinship_child"


class StreamedKinship:
    """Implements the `KinshipMeter` port over `evomerge.kinship`.

    Args:
        base: the base model, and `folder` where its weights are.
        passes: folder of the stored passes over this base; grows, never changes.
        exclude: patterns of tensor names that are left out.
        log: file for what the child prints.
    """

    def __init__(
        self, base: Foundation, folder: Path, passes: Path, exclude: Sequence[str], log: Path
    ) -> None:
        self._settings = {
            "base_id": base.content_id,
            "base": str(folder),
            "passes": str(passes),
            "exclude": list(exclude),
        }
        self._child = Child(CHILD, log, name="kinship")

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
