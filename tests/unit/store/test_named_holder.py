"""Who holds a lock, told without touching it."""

import json
import os
import subprocess
import time
from dataclasses import asdict, replace

import pytest

from evomerge.store.lock import HEARTBEAT, Owner, exclusive, named_holder


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


def named(path, owner, age=0.0):
    path.write_text(json.dumps(asdict(owner)))
    then = time.time() - age
    os.utime(path, (then, then))


def test_a_living_holder_is_named_and_nothing_changes(path):
    assert named_holder(path) is None
    with exclusive(path, "it"):
        before = path.stat()
        path.chmod(0o444)
        assert named_holder(path).pid == os.getpid()
        after = path.stat()
        assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
        assert [*path.parent.iterdir()] == [path]
    assert named_holder(path) is None


def test_a_dead_holder_is_none(path):
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    named(path, replace(Owner.myself(), pid=gone.pid, started=1))
    assert named_holder(path) is None
    named(path, replace(Owner.myself(), started=1))
    assert named_holder(path) is None, "another process has its number now"


def test_a_holder_of_another_host_lives_by_its_heartbeat(path):
    other = replace(Owner.myself(), host="elsewhere", pid=1)
    named(path, other)
    assert named_holder(path) == other
    named(path, other, age=7 * HEARTBEAT)
    assert named_holder(path) is None
