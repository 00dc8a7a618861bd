"""Real mergekit and lm-eval, killed where it hurts: every run ends as if nothing had happened.

Interruptions are chained: a run is stopped, resumed, killed elsewhere, resumed, and so on, and its
end is compared with that of an uninterrupted run. So each costs one start, not two. Every instant
between is swept over the landscape, whose driver is the same (tests/crash).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evomerge.domain.digest import decision_digest
from evomerge.domain.state import RunState, fold
from evomerge.store.faults import POINTS, VARIABLE
from evomerge.store.journal import read_journal

from .conftest import NAME, OFFLINE, ROOT, small_run

HANGS = 600.0
"""Seconds after which a test is given up: long, because the machine may be busy."""


class Run:
    """One run of the small config below its own runs folder."""

    def __init__(self, runs: Path, tiny: Path) -> None:
        self.runs = runs
        self._words = small_run(runs, tiny)

    def start(self, *settings: str, **environment: str) -> subprocess.Popen[str]:
        """Start or go on with it."""
        further = [word for each in settings for word in ("--set", each)]
        return subprocess.Popen(
            [sys.executable, "-m", "evomerge", *self._words, *further, "--plain"],
            cwd=ROOT,
            env={**os.environ, **OFFLINE, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> None:
        """Bring it to its end."""
        process = self.start()
        output, _ = process.communicate(timeout=HANGS)
        assert process.returncode == 0, output

    def killed_at(self, point: str, *settings: str) -> None:
        """Go on with it until a fault point kills its driver."""
        assert point in POINTS
        process = self.start(*settings, **{VARIABLE: f"{point}:1:kill"})
        output, _ = process.communicate(timeout=HANGS)
        assert process.returncode == -signal.SIGKILL, output
        self.check_children_are_gone()

    def killed_during(self, kind: str) -> None:
        """Go on with it until it makes an artefact of `kind`, and kill its driver then."""
        process = self.start_until(kind)
        process.kill()
        process.communicate(timeout=HANGS)
        assert self.making(kind), "it was in the middle of it"
        self.check_children_are_gone()

    def start_until(self, kind: str) -> subprocess.Popen[str]:
        """Go on with it until it makes an artefact of `kind`; what was left of others is old."""
        left = set(self.making(kind))
        process = self.start()
        until(lambda: set(self.making(kind)) - left, process)
        return process

    def making(self, kind: str) -> list[Path]:
        """Artefacts of `kind` in the making: work in progress without its manifest."""
        found = (self.runs / "store" / "tmp").glob(f"{kind}--*")
        return [path for path in found if not (path / "manifest.json").exists()]

    @property
    def state(self) -> RunState:
        return fold(read_journal(self.runs / NAME / "journal.jsonl").entries)

    @property
    def events(self) -> int:
        journal = self.runs / NAME / "journal.jsonl"
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    def children(self) -> dict[int, str]:
        """The child processes that log into this run: pid -> name of the log."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                log = (process / "fd" / "2").readlink()
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if log.is_relative_to(self.runs) and b"evomerge.adapters.serve" in command:
                found[int(process.name)] = log.stem
        return found

    def check_children_are_gone(self) -> None:
        deadline = time.monotonic() + HANGS
        while self.children():
            assert time.monotonic() < deadline, f"left over: {self.children()}"
            time.sleep(0.02)

    def check_nothing_half_made_remains(self) -> None:
        assert not list((self.runs / "store" / "tmp").iterdir())
        store = self.runs / "store"
        for artefact in [*store.glob("models/*"), *store.glob("evaluations/*/*")]:
            assert (artefact / "manifest.json").exists() or (artefact / "pruned.json").exists()
        assert not [path for path in self.runs.rglob("*.tmp*") if path.is_file()]
        done = subprocess.run(
            [sys.executable, "-m", "evomerge", "verify", NAME, "--dir", str(self.runs)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for a moment in the life of a process, to the millisecond."""
    deadline = time.monotonic() + HANGS
    while not condition():
        assert process.poll() is None, f"it ended first: {process.communicate()[0]}"
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(scope="module")
def whole(finished: tuple[Path, str]) -> RunState:
    """The end of an uninterrupted run."""
    runs, _ = finished
    state = fold(read_journal(runs / NAME / "journal.jsonl").entries)
    assert state.finished
    assert state.merges > 3
    return state


@pytest.fixture
def run(tiny: Path, tmp_path: Path) -> Run:
    return Run(tmp_path / "runs", tiny)


def stopped_by(
    run: Run, process: subprocess.Popen[str], signum: signal.Signals, at_work: str = ""
) -> None:
    """Send a signal, and check that it stops the run well.

    A child that is `at_work` is frozen first: a driver that waited for its answer would hang.
    """
    for pid, name in run.children().items():
        if name == at_work:
            os.kill(pid, signal.SIGSTOP)
    process.send_signal(signum)
    output, _ = process.communicate(timeout=HANGS)
    # 75 is EX_TEMPFAIL: what a batch system that sends SIGUSR1 may be told to requeue for
    assert process.returncode == (75 if signum == signal.SIGUSR1 else 128 + signum), output
    assert f"stopped by {signum.name}" in output
    assert "Traceback" not in output
    run.check_children_are_gone()
    if run.events:
        assert f"evomerge resume {NAME} --dir {run.runs}" in output


def test_the_driver_is_stopped_and_killed_again_and_again(run: Run, whole: RunState) -> None:
    """And goes on with more workers, which changes no decision and no number."""
    process = run.start()
    until(lambda: len(run.children()) >= 1, process)  # it imports; there is no run yet
    stopped_by(run, process, signal.SIGINT)
    assert not (run.runs / NAME).exists(), "nothing is left"

    process = run.start_until("evaluations")
    stopped_by(run, process, signal.SIGTERM, at_work="score-0")

    run.killed_during("models")
    assert not any(model.merged for model in run.state.models.values())

    process = run.start_until("models")
    stopped_by(run, process, signal.SIGUSR1, at_work="merge-0")

    run.killed_during("evaluations")

    process = run.start_until("evaluations")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)  # who asks twice does not want to wait
    process.communicate(timeout=HANGS)
    assert process.returncode in {-signal.SIGTERM, 128 + signal.SIGTERM}
    run.check_children_are_gone()

    assert run.state.merges < whole.merges - 1, "there is more to do than one merge"
    run.killed_at("prune.before", "execution.devices=[cpu*2]", "execution.merge_workers=2")
    assert {path.stem for path in (run.runs / NAME / "logs").iterdir()} >= {"score-1", "merge-1"}
    assert run.state.merges == whole.merges
    (pruned,) = (run.runs / "store/models").glob("*/pruned.json")
    assert (pruned.parent / "model.safetensors").exists(), "in the middle of pruning"

    run.finish()
    assert decision_digest(run.state) == decision_digest(whole)
    assert not run.state.at_generation(1)[0].failure
    run.check_nothing_half_made_remains()


def test_a_child_is_killed_in_the_middle_of_a_merge_and_of_an_evaluation(
    run: Run, whole: RunState
) -> None:
    """As by the kernel when memory runs out: the work is done again in a fresh child."""
    process = run.start()
    fallen = []
    for kind, log in (("evaluations", "score-0"), ("models", "merge-0")):
        before = run.events
        until(lambda kind=kind, before=before: run.making(kind) and run.events > before, process)
        (pid,) = [each for each, name in run.children().items() if name == log]
        os.kill(pid, signal.SIGSTOP)
        in_the_middle = run.making(kind)
        os.kill(pid, signal.SIGKILL)
        assert in_the_middle
        fallen.append(pid)
    output, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 0, output
    assert not set(fallen) & set(run.children())
    assert len(set(fallen)) == 2
    assert decision_digest(run.state) == decision_digest(whole)
    assert not any(model.failure for model in run.state.models.values())
    run.check_nothing_half_made_remains()
