"""A run that fetches models can be stopped at once, and says that it fetches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Fault
from loopback import Hub as Server

ROOT = Path(__file__).parents[2]
HANGS = 600.0
"""Seconds after which a test is given up: long, because the machine may be busy."""


def started(folder: Path, *further: str) -> subprocess.Popen[str]:
    """`evomerge run` of the unmodified config, in `folder`."""
    config = ROOT / "configs" / "mistral7b.yaml"
    return subprocess.Popen(
        [sys.executable, "-m", "evomerge", "run", str(config), "--plain", *further],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + HANGS
    while not condition():
        assert process.poll() is None, f"it ended first: {process.communicate()[0]}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)],
    ids=["INT", "TERM", "USR1"],
)
def test_a_signal_stops_a_download_that_would_never_end(
    server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    signum: signal.Signals, code: int,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "10000")
    fault = Fault(r"^GET .*tokenizer\.json", kind="hang")
    with server.failing(fault):
        process = started(tmp_path)
        until(lambda: fault.seen, process)
        shown = status(tmp_path)
        process.send_signal(signum)
        output, _ = process.communicate(timeout=HANGS)
    assert process.returncode == code, output
    assert f"stopped by {signum.name}" in output
    assert "Traceback" not in output
    assert shown["state"] == "preparing"
    assert str(process.pid) in shown["holder"]
    assert (home / "hub").is_dir(), "what was fetched stays"
    assert not (tmp_path / "runs" / "mistral7b").exists(), "a run that did not begin is none"


def status(folder: Path) -> dict[str, str]:
    words = [sys.executable, "-m", "evomerge", "status", "mistral7b", "--json"]
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
