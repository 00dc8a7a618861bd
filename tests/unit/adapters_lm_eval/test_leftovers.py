"""What a killed engine left is swept, and nothing of a living one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from evomerge.adapters.lm_eval import leftovers

HOLDS = """
import sys, time, pathlib
from multiprocessing.shared_memory import SharedMemory
from evomerge.adapters.lm_eval.leftovers import note_segments, own_folder
folder = own_folder()
segment = SharedMemory(create=True, size=64)
pathlib.Path("/dev/shm", "vllm_dist_" + segment.name).write_bytes(b"not mapped, not noted")
note_segments(folder)
print(folder, segment.name, flush=True)
if "--stay" in sys.argv:
    time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def foreign() -> Iterator[list[Path]]:
    files: list[Path] = []
    yield files
    for file in files:
        file.unlink(missing_ok=True)


def holder(*words: str) -> tuple[subprocess.Popen[str], Path, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, *words],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    folder, segment = process.stdout.readline().split()
    return process, Path(folder), Path("/dev/shm", segment)


def test_the_dead_are_swept_and_the_living_are_not(place: Path, foreign: list[Path]) -> None:
    dead, folder, segment = holder("--stay")
    living, other_folder, other_segment = holder("--stay")
    foreign += [Path("/dev/shm", f"vllm_dist_{each.name}") for each in (segment, other_segment)]
    try:
        # its tracker of resources would remove the segment, so it goes at the same time
        os.killpg(dead.pid, signal.SIGKILL)
        dead.wait()
        assert folder.is_dir()
        assert segment.is_file()
        sweeper, mine, own = holder()
        foreign.append(Path("/dev/shm", f"vllm_dist_{own.name}"))
        sweeper.wait()
        assert not folder.exists()
        assert not segment.exists()
        assert other_folder.is_dir()
        assert other_segment.is_file()
        assert not mine.exists(), "it ended in order"
        assert all(each.is_file() for each in foreign), "nobody noted them"
    finally:
        os.killpg(living.pid, signal.SIGKILL)
        living.wait()
        sweeper, *_, own = holder()
        foreign.append(Path("/dev/shm", f"vllm_dist_{own.name}"))
        sweeper.wait()
    assert [*place.glob("evomerge-vllm-*")] == []


def test_what_is_not_a_folder_of_ours_is_left_alone(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "lock").touch()
    (place / "evomerge-vllm-link").symlink_to(other)
    beginning = place / "evomerge-vllm-new"  # its process has not locked it yet
    beginning.mkdir()
    sweeper, *_, own = holder()
    sweeper.wait()
    Path("/dev/shm", f"vllm_dist_{own.name}").unlink()
    assert (other / "lock").is_file()
    assert beginning.is_dir()


def test_names_outside_shared_memory_are_no_segments(tmp_path: Path) -> None:
    (tmp_path / "segments").write_text("psm_1\n../../etc/passwd\npsm_/../x\nother\nvllm_dist_2\n")
    assert leftovers._noted(tmp_path) == {"psm_1", "vllm_dist_2"}
    maps = (
        "7f0-7f1 rw-s 00000000 00:19 5 /dev/shm/psm_12ab\n"
        "7f1-7f2 r-xp 00000000 08:01 6 /usr/lib/psm_lib.so\n"
        "7f2-7f3 rw-p 00000000 00:00 0\n"
    )
    assert leftovers._mapped(maps) == {"psm_12ab"}


def test_what_is_let_go_of_during_a_start_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_INTERVAL", 0.01)
    segment = SharedMemory(create=True, size=64)
    try:
        with leftovers.noting(tmp_path):
            while segment.name not in leftovers._noted(tmp_path):
                time.sleep(0.01)
            segment.close()
        assert segment.name in leftovers._noted(tmp_path)
    finally:
        segment.unlink()
