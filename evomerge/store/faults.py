"""Named fault points for tests of kills, signals and full disks.

`EVOMERGE_FAULT=point:n:action` triggers when `point` is reached for the nth time (counted from 1):
`kill` sends SIGKILL to the process, `term` SIGTERM, `raise` raises RuntimeError and `enospc`
OSError(ENOSPC). Without the variable a point costs one comparison.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections import Counter

VARIABLE = "EVOMERGE_FAULT"

POINTS = (
    "lock.taken",
    "run.laid_out",
    "journal.created",
    "journal.torn_tail_cut",
    "journal.before_write",
    "journal.written",
    "journal.synced",
    "ledger.recorded",
    "ledger.derived",
    "checkpoint.written",
    "link.made",
    "atomic.opened",
    "atomic.written",
    "atomic.synced",
    "atomic.renamed",
    "artefact.started",
    "artefact.built",
    "artefact.listed",
    "artefact.synced",
    "artefact.renamed",
    "artefact.durable",
    "prune.before",
    "prune.removed",
    "sweep.removed",
)
"""All points, in the order in which a run reaches them."""

_setting = os.environ.get(VARIABLE)
_met: Counter[str] = Counter()
_lock = threading.Lock()


def arm(setting: str | None) -> None:
    """Set a fault as the environment variable does; None clears it."""
    global _setting  # noqa: PLW0603 - one process, one fault
    _setting = setting
    _met.clear()


def met() -> dict[str, int]:
    """How often each point was reached since the last `arm`."""
    with _lock:
        return dict(_met)


def reached(point: str) -> None:
    """Mark that `point` is reached; triggers the fault that is set for it."""
    if _setting is not None:
        _act(point, _setting)


def _act(point: str, setting: str) -> None:
    wanted, number, action = setting.rsplit(":", 2)
    with _lock:
        _met[point] += 1
        if wanted != point or _met[point] != int(number):
            return
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "raise":
            raise RuntimeError(f"fault at {point}")
        case _:
            raise ValueError(f"{VARIABLE}: unknown action {action!r}")
