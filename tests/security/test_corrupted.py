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

from tests.conftest import Outcome, command

from .conftest import resume, run_of
from .damage import CASES, IN_RUN, IN_STORE, IN_THE_WAY, NO_JOURNAL, REFUSED, Case, remove

LOOKING = [
    ["status", "landscape"], ["show", "landscape", "model-1-1"], ["tree", "landscape"],
    ["digest", "landscape"], ["list"], ["gc"], ["verify", "landscape"],
]  # fmt: skip
HARMLESS = ("model-stray_file", "tmp-", "locks-", "lock-", "environment-", "logs-")
"""Strays are no part of anything, locks are made as they are needed, the rest is never read."""


def refused(outcome: Outcome, place: Path) -> bool:
    """Whether a command ended with a clear sentence that names the place of the damage."""
    assert "Traceback" not in outcome.err
    assert outcome.code in {0, 2, 3, 75}, outcome
    if outcome.code == 0:
        return False
    assert outcome.err.startswith("evomerge: "), outcome.err
    # A file that is gone or does not fit its artefact is told by the folder that lacks it.
    assert str(place.parent) in outcome.err, "it names what is damaged"
    return True


def derived(root: Path) -> dict[str, str]:
    """Checkpoints and links, by name."""
    run = run_of(root)
    checkpoints = {path.name: path.read_text() for path in (run / "generations").iterdir()}
    return checkpoints | {path.name: str(path.readlink()) for path in (run / "models").iterdir()}


def named(case: Case) -> str:
    return case.name


def test_there_are_enough_kinds() -> None:
    assert len({each.name for each in CASES}) == len(CASES) >= 30
    assert {each.name for each in CASES} > REFUSED


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_half_done_run_ends_alike_or_is_refused(
    case: Case, half: Path, whole: Path, digest: str, copy_of: Callable[[Path], Path]
) -> None:
    """What is refused goes on when the damaged file is deleted, but for the journal."""
    root = copy_of(half)
    place = case.place(root)
    case.damage(place)
    first = resume(root)
    assert refused(first, place) == (case.name in REFUSED), first
    if case.name in NO_JOURNAL:
        return
    if case.name in REFUSED:
        remove(place)
    last = resume(root) if case.name in REFUSED else first
    assert last.out.strip() == digest, last.err
    assert derived(root) == derived(whole)


@pytest.mark.parametrize("case", IN_STORE, ids=named)
def test_the_store_is_not_believed(
    case: Case, whole: Path, digest: str, copy_of: Callable[[Path], Path]
) -> None:
    root = copy_of(whole)
    place = case.place(root)
    shutil.rmtree(run_of(root))
    case.damage(place)
    again = resume(root)
    if case.name == "locks-file_instead":
        assert refused(again, place)
    else:
        assert again.out.strip() == digest, again.err
        assert derived(root) == derived(whole)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_looking_at_it_detects_it(
    case: Case, whole: Path, digest: str, copy_of: Callable[[Path], Path]
) -> None:
    """`verify` finds what running it again does not mend; no command fails with a traceback."""
    root = copy_of(whole)
    place = case.place(root)
    case.damage(place)
    told = {each[0]: command(*each, "--dir", root / "runs") for each in LOOKING}
    noticed = {name for name, outcome in told.items() if refused(outcome, place)}
    again = resume(root)
    if case.name in NO_JOURNAL:
        assert noticed == set(told) - {"list"}
        assert refused(again, place)
    elif case.name in IN_THE_WAY and case not in IN_STORE:
        assert refused(again, place)
    else:
        assert again.out.strip() == digest, again.err
        if not case.name.startswith(HARMLESS):
            assert "verify" in noticed or (case in IN_RUN and derived(root) == derived(whole))


WITHOUT_PRIVILEGES = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: what lets root read anything
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "evomerge", *sys.argv[1:]])
"""


READING = {
    "landscape": ("status", "verify", "resume"),
    "landscape/journal.jsonl": ("status", "verify"),
    "landscape/lock": ("status",),
    "landscape/config.yaml": ("resume",),
    "store": ("verify",),
    "store/models": ("verify",),
    "store/evaluations": ("verify",),
}
"""The commands that read each of these."""


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize("name", READING)
def test_what_cannot_be_read_is_named(
    name: str, whole: Path, copy_of: Callable[[Path], Path]
) -> None:
    root = copy_of(whole)
    place = root / "runs" / name
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        for word in READING[name]:
            done = subprocess.run(
                [sys.executable, "-c", WITHOUT_PRIVILEGES, word, "landscape", "--dir",
                 str(root / "runs")],
                capture_output=True,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
            assert refused(Outcome(done.returncode, done.stdout, done.stderr), place)
            assert f"{place}" in done.stderr
    finally:
        place.chmod(mode)
