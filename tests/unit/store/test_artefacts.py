"""The shared store: made once, complete or absent, damage found."""

import fcntl
import json
import os
import socket
import threading
import time
from dataclasses import asdict

import pytest

from evomerge.domain.errors import DamagedError, LockedError, StoppedError
from evomerge.store.artefacts import MANIFEST, Store, problems, read_checked
from evomerge.store.atomic import write_atomic
from evomerge.store.lock import HEARTBEAT, Owner, exclusive, holder, start_time, waiting


def build(text="hello"):
    def write(folder):
        (folder / "a.txt").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b.txt").write_text("b")

    return write


def test_an_artefact_is_made_once(tmp_path):
    store = Store(tmp_path)
    first = store.obtain("models/x", build())
    second = store.obtain("models/x", lambda _: pytest.fail("built again"))
    assert (first.reused, second.reused) == (False, True)
    assert (second.path / "sub/b.txt").read_text() == "b"
    assert problems(second.path, deep=True) == []


def test_two_threads_make_it_once(tmp_path):
    built = []

    def slow(folder):
        built.append(folder)
        threading.Event().wait(0.1)
        build()(folder)

    threads = [
        threading.Thread(target=Store(tmp_path).obtain, args=("models/x", slow)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_failed_build_leaves_nothing(tmp_path):
    store = Store(tmp_path)

    def failing(folder):
        build()(folder)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        store.obtain("models/x", failing)
    assert not store.holds("models/x")
    assert not store.path("models/x").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / MANIFEST).write_text("{"),
        lambda folder: (folder / MANIFEST).write_text('{"files": 3}'),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "a.txt").write_text(""),
        lambda folder: (folder / "a.txt").write_text("hello and more"),
        lambda folder: [path.unlink() for path in folder.iterdir() if path.is_file()],
    ],
    ids=["no manifest", "half manifest", "odd manifest", "gone", "empty", "longer", "bare"],
)
def test_a_damaged_artefact_is_made_again(tmp_path, damage):
    store = Store(tmp_path)
    path = store.obtain("models/x", build()).path
    damage(path)
    assert not store.holds("models/x")
    assert not store.obtain("models/x", build()).reused
    assert problems(path, deep=True) == []


def test_a_flipped_bit_is_found_by_a_deep_look(tmp_path):
    path = Store(tmp_path).obtain("models/x", build()).path
    (path / "a.txt").write_text("hellp")
    assert problems(path, deep=False) == []
    assert "has changed since it was written" in problems(path, deep=True)[0]
    with pytest.raises(DamagedError, match="has changed since it was written"):
        read_checked(path, "a.txt")


def test_what_a_killed_process_left_is_swept(tmp_path):
    store = Store(tmp_path)
    store.obtain("models/x", build())
    dead = tmp_path / "tmp" / f"models--y.0a1b2c3d.{socket.gethostname()}.{_dead_pid()}"
    alive = tmp_path / "tmp" / f"models--z.{socket.gethostname()}.{os.getpid()}"
    for folder in (dead, alive):
        folder.mkdir()
    assert store.sweep() == 1
    assert not dead.exists()
    assert alive.exists()


def test_what_another_host_left_is_swept_after_a_day_unless_its_lock_is_held(tmp_path):
    store = Store(tmp_path)
    store.obtain("models/x", build())
    old, new, held = (tmp_path / "tmp" / f"models--{name}.elsewhere.org.12" for name in "onh")
    for folder in (old, new, held):
        folder.mkdir()
        (folder / "half").write_text("x")
    for folder in (old, held):
        for path in (folder / "half", folder):
            os.utime(path, (time.time() - 90_000,) * 2)
    with waiting(tmp_path / "locks/models--h"):
        assert store.sweep() == 1
    assert not old.exists()
    assert new.exists()
    assert held.exists()


def _dead_pid():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_a_held_lock_says_who_holds_it(tmp_path):
    lock = tmp_path / "lock"
    assert holder(lock) is None
    with exclusive(lock, "run x"):
        assert f"pid {os.getpid()}" in holder(lock)
        with pytest.raises(LockedError, match=f"run x is driven .*pid {os.getpid()}"):
            with exclusive(lock, "run x"):
                pass
    assert holder(lock) is None
    with exclusive(lock, "run x"):
        pass


def test_a_failed_atomic_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomic(path, json.dumps(1))

    def failing(descriptor):
        raise OSError(22, "no")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError):
        write_atomic(path, json.dumps(2))
    assert path.read_text() == "1"
    assert list(tmp_path.iterdir()) == [path]


def lying(monkeypatch):
    """A file system that grants every lock to everybody, as some network file systems do."""
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, mode: None)


def write_owner(lock, **changes):
    owner = {**asdict(Owner.myself()), **changes}
    lock.write_text(json.dumps(owner))


def test_where_locks_lie_a_living_process_of_this_host_is_respected(tmp_path, monkeypatch):
    lying(monkeypatch)
    lock = tmp_path / "lock"
    parent = os.getppid()
    write_owner(lock, pid=parent, started=start_time(parent))
    with pytest.raises(LockedError, match=f"pid {parent}"):
        with exclusive(lock, "run x"):
            pass
    assert f"pid {parent}" in holder(lock)


@pytest.mark.parametrize("started", [1, "of the parent"])
def test_a_dead_process_or_a_reused_pid_holds_nothing(tmp_path, monkeypatch, started):
    lying(monkeypatch)
    lock = tmp_path / "lock"
    if started == 1:
        write_owner(lock, pid=os.getppid(), started=1)  # the pid is in use, by somebody else
    else:
        write_owner(lock, pid=_dead_pid(), started=start_time(os.getppid()))
    assert holder(lock) is None
    with exclusive(lock, "run x"):
        pass


def test_on_another_host_the_heartbeat_decides(tmp_path, monkeypatch):
    lying(monkeypatch)
    lock = tmp_path / "lock"
    write_owner(lock, host="elsewhere", pid=1)
    with pytest.raises(LockedError, match="host elsewhere"):
        with exclusive(lock, "run x"):
            pass
    silent = time.time() - 7 * HEARTBEAT
    os.utime(lock, (silent, silent))
    with exclusive(lock, "run x"):
        assert Owner.of(lock).pid == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_the_heart_beats_while_the_lock_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr("evomerge.store.lock.HEARTBEAT", 0.02)
    lock = tmp_path / "lock"
    with exclusive(lock, "run x"):
        os.utime(lock, (0, 0))
        while lock.stat().st_mtime == 0:  # else the test hangs
            time.sleep(0.01)


def test_waiting_for_an_artefact_can_be_cancelled(tmp_path):
    store = Store(tmp_path)

    def build_again(folder):
        build()(folder)
        with pytest.raises(StoppedError):
            Store(tmp_path).obtain("models/x", build(), cancelled=lambda: True)

    store.obtain("models/x", build_again)


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    lock = tmp_path / "lock"
    real = fcntl.flock
    removed = []

    def removing(descriptor, mode):
        real(descriptor, mode)
        if not removed:  # the holder before lets go by removing the file
            removed.append(lock.unlink())

    monkeypatch.setattr(fcntl, "flock", removing)
    with exclusive(lock, "run x"):
        assert Owner.of(lock).pid == os.getpid()


def test_a_lock_file_is_empty_after_an_exception(tmp_path):
    lock = tmp_path / "lock"
    with pytest.raises(RuntimeError):
        with exclusive(lock, "run x"):
            raise RuntimeError
    assert lock.read_text() == ""
