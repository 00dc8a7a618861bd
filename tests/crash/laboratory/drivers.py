"""Drivers on request, from two warm processes with different hash seeds.

What is started is interrupted; what is resumed runs in the other process: an order that depends on
the hash of strings would show.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from laboratory.server import Outcome, Request

_PACKAGES = Path(__file__).parents[1]


class Drivers:
    """Starts and resumes landscape runs; a context manager, for one thread at a time."""

    def __init__(self, plants: Path | None = None) -> None:
        words = [sys.executable, "-m", "laboratory.server"]
        words += [str(plants)] if plants else []
        self._servers = [_server(words, hash_seed) for hash_seed in (1, 2)]

    def start(self, root: Path, *words: str, **how: Any) -> Outcome:
        """Start a driver; `how` are fields of `Request`."""
        return self._ask(0, root, words, how)

    def resume(self, root: Path, *words: str, **how: Any) -> Outcome:
        """Resume it in a process with another hash seed."""
        return self._ask(1, root, words, how)

    def _ask(self, number: int, root: Path, words: tuple[str, ...], how: dict[str, Any]) -> Outcome:
        request = Request(arguments=(str(root), *words), **how)
        server = self._servers[number]
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("no pipes")
        server.stdin.write(json.dumps(asdict(request)) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        if not answer:
            raise RuntimeError("the process that forks drivers ended; see its stderr")
        return Outcome(**json.loads(answer))

    def close(self) -> None:
        """End both processes."""
        for server in self._servers:
            server.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _server(words: list[str], hash_seed: int) -> subprocess.Popen[str]:
    path = [str(_PACKAGES), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
