"""Limits on disk and memory that merges must leave free."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from evomerge.config import ExecutionConfig
from evomerge.domain.errors import StoppedError

_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class Resources:
    """The disk and memory that merges may use.

    Attributes:
        folder: where models are written.
        model_size: upper bound of the bytes of an offspring's weights.
        min_free_disk: bytes to leave free on the disk of `folder`.
        min_free_memory: bytes that must be free before a merge starts.
    """

    folder: Path
    model_size: int = 0
    min_free_disk: int = 0
    min_free_memory: int = 0

    @classmethod
    def of(cls, execution: ExecutionConfig, folder: Path, model_size: int) -> Resources:
        """The limits of a config."""
        return cls(
            folder,
            model_size,
            min_free_disk=round(execution.min_free_disk_gb * 1e9),
            min_free_memory=round(execution.min_free_memory_gb * 1e9),
        )

    def shortage(self, models: int, whose: str) -> str | None:
        """A message with the required and the free space if `models` more models do not fit.

        Args:
            whose: what the models are, for the message.
        """
        required = models * self.model_size
        free = shutil.disk_usage(self.folder).free
        if not models or free >= required + self.min_free_disk:
            return None
        kept = (
            f" and {self.min_free_disk / 1e9:.1f} GB are to stay free (execution.min_free_disk_gb)"
            if self.min_free_disk
            else ""
        )
        return (
            f"not enough disk for {whose}: {required / 1e9:.1f} GB are needed{kept}, "
            f"{free / 1e9:.1f} GB are free in {self.folder}"
        )

    def check_disk(self, models: int) -> None:
        """Check that `models` more models fit.

        Raises:
            StoppedError: they do not.
        """
        if shortage := self.shortage(models, f"the next {models} models"):
            raise StoppedError(
                shortage, "free some space (`evomerge gc` shows what no run needs), then resume"
            )

    def has_memory(self) -> bool:
        """Whether there is memory for a merge beside running evaluations."""
        return self.min_free_memory <= 0 or available_memory() >= self.min_free_memory


def memory() -> dict[str, int] | None:
    """The memory figures of /proc/meminfo by name (`MemTotal`), in bytes; None if unavailable."""
    try:
        lines = _MEMORY.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}


def available_memory() -> int:
    """Bytes of RAM available without swapping; 2**62 if unknown."""
    known = memory()
    return 1 << 62 if known is None else known["MemAvailable"]
