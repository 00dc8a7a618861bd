"""Kinship measured while children are still being scored, so that asking for it is a look-up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path

from evomerge.domain.errors import EvomergeError
from evomerge.domain.kinship import all_pairs
from evomerge.ports import KinshipMeter, Progress


class KinshipAhead:
    """Lets a meter look at models in the background.

    Nothing comes of it but what the meter keeps of the weights it read: a reading is only taken
    when the run asks for it, and a fault of a model is only told then.
    """

    def __init__(self, meter: KinshipMeter) -> None:
        self._meter = meter
        self._thread: threading.Thread | None = None

    def start(self, models: Mapping[str, Path], progress: Progress) -> None:
        """Have every pair of `models` (content id -> folder) measured; a second call waits."""
        self.wait()
        if len(models) < 2:
            return
        self._thread = threading.Thread(
            target=self._measure, args=(models, progress), name="kinship", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until nobody else uses the meter."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _measure(self, models: Mapping[str, Path], progress: Progress) -> None:
        with contextlib.suppress(EvomergeError, OSError):
            self._meter.measure(models, list(all_pairs(list(models))), progress)
