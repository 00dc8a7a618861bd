"""Real mergekit and lm-eval, killed where it hurts: every run ends as if nothing had happened.

Kills are chained: a run is killed, resumed, killed elsewhere, resumed, and so on, and its end is
compared with that of an uninterrupted run. So each kill costs one start, not two.
"""

from __future__ import annotations

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

from .conftest import OFFLINE, ROOT

NAME = "tiny-evolution"
SMALL = [
    "foundation_models=[{0}/reverse, {0}/sort, {0}/increment]",
    "base_model={0}/base",
    "strategy.k=2",
    "stopping=[max_generations: 3]",
    "retention=pool",
    *(f"evaluation.tasks.{number}.limit=20" for number in range(5)),
]
STOPPED_WITHIN = 10.0


class Run:
    """One run of the small config below its own runs folder."""

    def __init__(self, runs: Path, tiny: Path) -> None:
        self.runs = runs
        settings = [each.format(tiny / "models") for each in SMALL]
        settings += [
            "execution.report=false",
            f"run.dir={runs}",
            f"evaluation.include=[{tiny / 'tasks'}]",
        ]
        self._words = [word for each in settings for word in ("--set", each)]

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Start or go on with it."""
        return subprocess.Popen(
            [sys.executable, "-m", "evomerge", "run", str(ROOT / "configs/tiny.yaml"),
             *self._words, "--plain"],
            cwd=ROOT,
            env={**os.environ, **OFFLINE, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def finish(self, **environment: str) -> str:
        """Bring it to its end; what it printed."""
        process = self.start(**environment)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return output

    def killed_at(self, point: str, number: int = 1) -> None:
        """Go on with it until a fault point kills its driver."""
        assert point in POINTS
        process = self.start(**{VARIABLE: f"{point}:{number}:kill"})
        output, _ = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, output
        self.check_children_are_gone()

    def killed_during(self, kind: str) -> None:
        """Go on with it until it makes an artefact of `kind`, and kill its driver then."""
        process = self.start()
        until(lambda: self.making(kind), process)
        process.kill()
        process.communicate(timeout=30)
        assert self.making(kind), "it was in the middle of it"
        self.check_children_are_gone()

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
        deadline = time.monotonic() + 3
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
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, f"it ended first: {process.communicate()[0]}"
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(scope="module")
def reference(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of an uninterrupted run."""
    run = Run(tmp_path_factory.mktemp("reference"), tiny)
    run.finish()
    assert run.state.finished
    assert run.state.merges > 5
    run.check_nothing_half_made_remains()
    return decision_digest(run.state)


@pytest.fixture
def run(tiny: Path, tmp_path: Path) -> Run:
    return Run(tmp_path / "runs", tiny)


def test_the_driver_is_killed_again_and_again(run: Run, reference: str) -> None:
    run.killed_at("artefact.durable")  # between a score and its event
    assert run.events == 1
    assert len(list((run.runs / "store/evaluations").glob("*/*/manifest.json"))) == 1

    run.killed_during("models")
    assert not any(model.merged for model in run.state.models.values())

    run.killed_at("artefact.listed")  # in the middle of writing a model
    assert not any(model.merged for model in run.state.models.values())

    run.killed_during("evaluations")
    scored = run.state.evaluations

    run.killed_at("checkpoint.written")
    assert run.state.evaluations > scored
    assert run.state.generations[1].pool is not None

    run.killed_at("prune.before")
    (pruned,) = (run.runs / "store/models").glob("*/pruned.json")
    assert (pruned.parent / "model.safetensors").exists(), "in the middle of pruning"

    run.finish()
    assert decision_digest(run.state) == reference
    assert not run.state.at_generation(1)[0].failure
    run.check_nothing_half_made_remains()


def test_a_child_is_killed_in_the_middle_of_a_merge_and_of_an_evaluation(
    run: Run, reference: str
) -> None:
    """As by the kernel when memory runs out: the work is done again in a fresh child."""
    process = run.start()
    fallen = []
    for kind, log in (
        ("evaluations", "score-0"),
        ("models", "merge-0"),
        ("evaluations", "score-0"),
    ):
        before = run.events
        until(lambda kind=kind, before=before: run.making(kind) and run.events > before, process)
        (pid,) = [each for each, name in run.children().items() if name == log]
        os.kill(pid, signal.SIGSTOP)
        in_the_middle = run.making(kind)
        os.kill(pid, signal.SIGKILL)
        assert in_the_middle
        fallen.append(pid)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert not set(fallen) & set(run.children())
    assert len(set(fallen)) == 3
    assert decision_digest(run.state) == reference
    assert not any(model.failure for model in run.state.models.values())
    run.check_nothing_half_made_remains()


def stopped_by(run: Run, process: subprocess.Popen[str], signum: signal.Signals) -> str:
    """Send a signal, and check that it stops the run well; what was printed."""
    started = time.monotonic()
    process.send_signal(signum)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - started < STOPPED_WITHIN
    # 75 is EX_TEMPFAIL: what a batch system that sends SIGUSR1 may be told to requeue for
    assert process.returncode == (75 if signum == signal.SIGUSR1 else 128 + signum), output
    assert f"stopped by {signum.name}" in output
    assert "Traceback" not in output
    run.check_children_are_gone()
    return output


def test_signals_stop_it_within_seconds_and_it_goes_on(run: Run, reference: str) -> None:
    resume = f"evomerge resume {NAME} --dir {run.runs}"

    process = run.start()
    until(lambda: run.making("evaluations"), process)
    assert resume in stopped_by(run, process, signal.SIGTERM)

    process = run.start()
    until(lambda: run.making("models"), process)
    assert resume in stopped_by(run, process, signal.SIGUSR1)

    process = run.start()
    until(lambda: len(run.children()) >= 2, process)  # they import, nothing is done yet
    assert resume in stopped_by(run, process, signal.SIGINT)

    process = run.start()
    until(lambda: run.making("evaluations"), process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    process.communicate(timeout=30)
    assert time.monotonic() - started < 2
    assert process.returncode in {-signal.SIGTERM, 128 + signal.SIGTERM}
    run.check_children_are_gone()

    run.finish()
    assert decision_digest(run.state) == reference
    run.check_nothing_half_made_remains()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_run_exists_leaves_nothing(run: Run, signum: signal.Signals) -> None:
    process = run.start()
    until(lambda: len(run.children()) >= 1, process)
    stopped_by(run, process, signum)
    assert not (run.runs / NAME).exists()
