"""What a driver did not have to do."""

from __future__ import annotations

from evomerge.domain.events import Event, KinshipMeasured, ModelMerged, ModelScored
from evomerge.terminal import figures


class Reuse:
    """Counts what came from the store among the events that it hears."""

    def __init__(self) -> None:
        self._merges = self._evaluations = self._pairs = 0

    def heard(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case ModelMerged(reused=True):
                self._merges += 1
            case ModelScored(reused=True):
                self._evaluations += 1
            case KinshipMeasured(reused=True):
                self._pairs += len(event.readings)

    def __str__(self) -> str:
        """`12 merges and 14 evaluations`; empty where nothing was reused."""
        counts = [(self._merges, "merge"), (self._evaluations, "evaluation")]
        parts = [figures.count(number, what) for number, what in counts if number]
        if self._pairs:
            parts.append(f"kinship of {figures.count(self._pairs, 'pair')}")
        return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
