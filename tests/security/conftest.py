"""Runs over the landscape fakes, half done and finished, to be damaged; no model library needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import EvomergeError, SignalledError
from evomerge.domain.state import RunState, fold
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import SilentObserver, run_landscape
from tests.conftest import Outcome

HALF = 24
"""Events of a half-done run: its second generation is open, some of it is done."""


class StopsAfter(SilentObserver):
    def __init__(self, events: int) -> None:
        self.left = events

    def on_event(self, event: object, state: RunState) -> None:
        self.left -= 1
        if self.left == 0:
            raise SignalledError(15, "stopped")


def resume(root: Path, *, accept_drift: bool = False) -> Outcome:
    """Run or resume the landscape run below `root`, as `evomerge resume` would; prints its digest.

    Only what evomerge raises on purpose is an outcome.
    """
    try:
        state = run_landscape(root, accept_drift=accept_drift)
        return Outcome(0, decision_digest(state), "")
    except EvomergeError as error:
        return Outcome(error.exit_code, "", f"evomerge: {error}\n")
    except OSError as error:  # as `evomerge.cli.main` tells them
        if error.filename is None:
            raise
        return Outcome(3, "", f"evomerge: {error.filename}: {error.strerror}\n")


def run_of(root: Path) -> Path:
    return root / "runs" / "landscape"


def state_of(root: Path) -> RunState:
    return fold(RunDirectory(run_of(root)).read())


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, never to be changed."""
    root = tmp_path_factory.mktemp("whole")
    run_landscape(root)
    return root


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its second generation, never to be changed."""
    root = tmp_path_factory.mktemp("half")
    with pytest.raises(SignalledError):
        run_landscape(root, observer=StopsAfter(HALF))
    assert state_of(root).unscored
    return root


@pytest.fixture(scope="session")
def digest(whole: Path) -> str:
    return decision_digest(state_of(whole))


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A private copy of a run with its store."""

    def copied(root: Path) -> Path:
        target = tmp_path / "copy"
        shutil.copytree(root, target, symlinks=True)
        return target

    return copied
