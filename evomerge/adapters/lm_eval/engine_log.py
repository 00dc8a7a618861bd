"""The real reason of an engine's death, where only the log has it.

An engine of several processes answers "see stack trace (above) for the root cause": the trace was
printed by another process, into the log that this one's stderr is.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_ELSEWHERE = re.compile(r"root cause|Executor failed|stack trace", re.IGNORECASE)
_RAISED = re.compile(
    r"^\((?:EngineCore|Worker)[^)]*\) ERROR .*?\] (?P<what>[A-Za-z_.]+(?:Error|Exception): .+)$"
)


def log_end() -> int:
    """How much is written to the log of this process; 0 where stderr is no file."""
    sys.stderr.flush()
    try:
        return os.fstat(2).st_size
    except OSError:
        return 0


def real_reason(message: str, since: int) -> str:
    """`message`, or what another process said first, if that is where it points.

    Args:
        since: `log_end` before the engine was asked.
    """
    if not _ELSEWHERE.search(message):
        return message
    try:
        with Path("/proc/self/fd/2").open("rb") as log:
            log.seek(since)
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:  # a terminal, or a pipe
        return message
    found = (match["what"] for line in lines if (match := _RAISED.match(line)))
    elsewhere = (each for each in found if not _ELSEWHERE.search(each))
    return next(elsewhere, message)
