"""A real small disk that fills up: the run stops with what is wrong, and goes on with more room."""

import re
import shutil
import subprocess

import pytest
from laboratory.invariants import Scenario, baseline, left_behind, resumed
from laboratory.sweep import storage_stop

PLACES = {"journal", "manifest", "weights", "scores"}
"""Kinds of files for which there must have been no room."""


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
    sizes = range(total // 20, total, 3)
    coarse_to_fine = [*sizes[::4], *sizes[2::4], *sizes[1::2]]
    for number, size in enumerate(coarse_to_fine):
        if stops >= PLACES and number >= len(sizes[::4]):
            break
        pages(disk, size)
        outcome = drivers.start(disk / "run")
        if outcome.code == 0:
            shutil.rmtree(disk / "run")
            continue
        assert storage_stop(outcome) == []
        stops.add(stopped_at(outcome.errors))
        before = left_behind(disk / "run")
        pages(disk, 1024)
        assert resumed(scenario, drivers, disk / "run", before) == [], f"{size} pages"
        shutil.rmtree(disk / "run")
    assert stops >= PLACES, stops


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
