"""A real small disk that fills up: the run stops with what is wrong, and goes on with more room."""

import re
import shutil
import subprocess

import pytest
from laboratory.invariants import Scenario, baseline, left_behind, resumed
from laboratory.sweep import storage_stop


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted = mount("tmpfs", place, "size=4m", "-t", "tmpfs")
    except FileNotFoundError:
        pytest.skip("mount is not installed")
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def mount(what, place, options, *more):
    command = ["mount", *more, "-o", options, what, place]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def pages(place, number):
    mount("tmpfs", place, f"remount,size={number * 4}k").check_returncode()


def used(place):
    return shutil.disk_usage(place).used // 4096


def stopped_at(errors):
    """Which kind of file the disk was full for."""
    (path,) = re.findall(r"writing (\S+) failed", errors)
    for kind, mark in {
        "journal": "journal.jsonl",
        "manifest": "manifest.json",
        "checkpoint": "/generations/",
        "weights": "/store/tmp/models--",
        "scores": "scores.json",
    }.items():
        if mark in path:
            return kind
    return "other"


def test_a_disk_that_fills_up_anywhere(disk, drivers):
    scenario = Scenario(digest=baseline(drivers, disk / "whole"))
    total = used(disk)
    shutil.rmtree(disk / "whole")
    stops = set()
    for size in range(total // 20, total, 3):
        pages(disk, size)
        outcome = drivers.start(disk / "run")
        if outcome.code == 0:
            break
        assert storage_stop(outcome) == []
        stops.add(stopped_at(outcome.errors))
        before = left_behind(disk / "run")
        pages(disk, 1024)
        assert resumed(scenario, drivers, disk / "run", before) == [], f"{size} pages"
        shutil.rmtree(disk / "run")
    assert stops >= {"journal", "manifest", "weights", "scores"}, stops


def test_a_disk_that_is_full_at_a_checkpoint(disk, drivers):
    scenario = Scenario(digest=baseline(drivers, disk / "whole"))
    events = left_behind(disk / "whole").entries
    finished = [n for n, entry in enumerate(events) if entry.event.type == "generation_finished"]
    stops = set()
    for number in finished:
        drivers.start(disk / "run", fault=f"ledger.recorded:{number}:kill")
        pages(disk, used(disk))
        outcome = drivers.start(disk / "run")
        assert storage_stop(outcome) == []
        stops.add(stopped_at(outcome.errors))
        pages(disk, 1024)
        assert resumed(scenario, drivers, disk / "run") == []
        shutil.rmtree(disk / "run")
    assert "checkpoint" in stops
