"""A damaged file of a run or of the store is detected, and made again or refused; never believed.

Every kind of damage meets a half-done run that is resumed, a finished one that is run again, and
the store of a finished one from which a further run takes what it can use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Outcome, command, resume, run_of
from .damage import CASES, Case, remove

LOOKING = [
    ["status", "landscape"], ["show", "landscape", "model-1-1"], ["tree", "landscape"],
    ["digest", "landscape"], ["list"], ["gc"], ["verify", "landscape"],
]  # fmt: skip
HARMLESS = ("model-stray_file", "tmp-", "locks-", "lock-", "environment-", "logs-")
"""Strays are no part of anything, locks are made as they are needed, the rest is never read."""


def refused(outcome: Outcome) -> bool:
    """Whether a command ended with a clear sentence and the exit code of a known fault."""
    lines = outcome.err.splitlines()
    assert "Traceback" not in outcome.err
    assert outcome.code in {0, 2, 3, 75}, outcome
    if outcome.code == 0:
        return False
    assert lines[0].startswith("evomerge: "), outcome.err
    assert "/" in outcome.err or "landscape" in outcome.err, "it names what is damaged"
    return True


def derived(root: Path) -> dict[str, str]:
    """Checkpoints and links, by name."""
    run = run_of(root)
    checkpoints = {path.name: path.read_text() for path in (run / "generations").iterdir()}
    return checkpoints | {path.name: str(path.readlink()) for path in (run / "models").iterdir()}


def ends_alike(outcome: Outcome, root: Path, whole: Path, digest: str) -> None:
    """Refused, or brought to the end of an uninterrupted run."""
    if not refused(outcome):
        assert outcome.out.strip() == digest
        assert derived(root) == derived(whole)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


def test_there_are_enough_kinds() -> None:
    assert len({each.name for each in CASES}) == len(CASES) >= 30


def test_a_half_done_run_ends_alike_or_is_refused(
    case: Case, half: Path, whole: Path, digest: str, copy_of: Callable[[Path], Path]
) -> None:
    root = copy_of(half)
    case.damage(case.place(root))
    ends_alike(resume(root), root, whole, digest)


def test_the_store_is_not_believed(
    case: Case, whole: Path, digest: str, copy_of: Callable[[Path], Path]
) -> None:
    root = copy_of(whole)
    place = case.place(root)
    if place.is_relative_to(run_of(root)):
        pytest.skip("no part of the store")
    shutil.rmtree(run_of(root))
    case.damage(place)
    ends_alike(resume(root), root, whole, digest)


def test_looking_at_it_detects_it(
    case: Case, whole: Path, digest: str, copy_of: Callable[[Path], Path]
) -> None:
    """`verify` finds what running it again does not mend; no command fails with a traceback."""
    root = copy_of(whole)
    place = case.place(root)
    case.damage(place)
    told = [command(*each, "--dir", root / "runs") for each in LOOKING]
    noticed = [refused(each) for each in told]
    again = resume(root)
    if refused(again) or case.name.startswith(HARMLESS):
        return
    assert again.out.strip() == digest
    in_store = not place.is_relative_to(run_of(root))
    assert noticed[-1] or (not in_store and derived(root) == derived(whole))


def test_what_was_refused_goes_on_when_the_damaged_file_is_deleted(
    case: Case, half: Path, digest: str, copy_of: Callable[[Path], Path]
) -> None:
    """The remedy of every refusal but for the journal, which nothing can replace."""
    root = copy_of(half)
    place = case.place(root)
    case.damage(place)
    if not refused(resume(root)):
        pytest.skip("it is not refused")
    if "journal" in case.name:
        assert command("status", "landscape", "--dir", root / "runs").code in {2, 3}
        return
    remove(place)
    again = resume(root)
    assert again.out.strip() == digest, again.err


WITHOUT_PRIVILEGES = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: what lets root read anything
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "evomerge", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize(
    "name",
    ["landscape/journal.jsonl", "landscape", "landscape/lock", "landscape/config.yaml", "store",
     "store/models", "store/evaluations"],
)  # fmt: skip
def test_what_cannot_be_read_is_named(
    name: str, whole: Path, copy_of: Callable[[Path], Path]
) -> None:
    root = copy_of(whole)
    place = root / "runs" / name
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        for words in (["status"], ["verify"], ["resume"]):
            done = subprocess.run(
                [sys.executable, "-c", WITHOUT_PRIVILEGES, *words, "landscape", "--dir",
                 str(root / "runs")],
                capture_output=True,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
            refused(Outcome(done.returncode, done.stdout, done.stderr))
    finally:
        place.chmod(mode)
