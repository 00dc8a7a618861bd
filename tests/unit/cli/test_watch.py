"""`evomerge watch`: what it tells of a run that another process drives."""

import io
import threading
import time

import pytest

from evomerge.cli.watch import Watcher
from evomerge.domain.errors import DamagedError
from evomerge.store.journal import Tail, line_of, read_journal
from evomerge.store.lock import exclusive
from evomerge.store.progress_file import ProgressFile, read_progress
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.plain import PlainReporter
from evomerge.testing.landscape_run import landscape_config, run_landscape


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The journal of a finished landscape run, line by line."""
    root = tmp_path_factory.mktemp("whole")
    run_landscape(root, landscape_config(stopping=[{"max_generations": 2}]))
    return (root / "runs/landscape/journal.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs/landscape"
    folder.mkdir(parents=True)
    return RunDirectory(folder)


class Screen:
    """A plain view, and what it has shown since it was last asked."""

    def __init__(self):
        self.stream = io.StringIO()
        self.view = PlainReporter(self.stream, heartbeat=0.0)

    def new(self):
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text


def test_it_follows_a_run_from_before_its_start_over_a_kill_to_its_end(run, whole):
    screen = Screen()
    watcher = Watcher(run, screen.view)
    assert not watcher.look()
    assert "no run named landscape" in screen.new()
    assert not watcher.look()
    assert screen.new() == "", "a note is told once"

    lock = run.path / "lock"
    with exclusive(lock, "run"):
        watcher.look()
        assert "its driver checks models" in screen.new()
        run.journal.write_bytes(b"".join(whole[:8]) + whole[8][:40])
        assert not watcher.look()
        assert screen.new().count("\n") >= 8
    watcher.look()
    said = screen.new()
    assert "not running; resume with: evomerge resume landscape --dir" in said
    with exclusive(lock, "run"):
        run.journal.write_bytes(b"".join(whole[:-1]))
        assert not watcher.look()
        assert "not running" not in screen.new()
    run.journal.write_bytes(b"".join(whole))
    assert watcher.look(), "the end of the run ends the watching"
    assert "finished" in screen.new()


def test_it_changes_nothing(run, whole):
    run.journal.write_bytes(b"".join(whole))
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert Watcher(run, Screen().view).look()
    assert before == {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}


def test_progress_reaches_the_watcher(run, whole):
    with ProgressFile(run.progress) as progress_file, exclusive(run.path / "lock", "run"):
        run.journal.write_bytes(b"".join(whole[:2]))
        progress_file.on_progress("birch", "score", 30, 400, "node-b")
        screen = Screen()
        watcher = Watcher(run, screen.view)
        watcher.look()
        assert "score 7 %  (30 of 400) on node-b" in screen.new()
    assert read_progress(run.progress) == (0.0, ())


def test_a_tail_reads_what_the_journal_holds_however_it_grows(run, whole):
    data = b"".join(whole)
    tail, seen = Tail(run.journal), []
    assert tail.read() == ()
    for end in [*range(1, len(data), 997), len(data)]:
        run.journal.write_bytes(data[:end])
        seen += tail.read()
    assert tuple(seen) == read_journal(run.journal).entries


def test_a_tail_refuses_another_journal(run, whole, tmp_path):
    run.journal.write_bytes(b"".join(whole[:5]))
    tail = Tail(run.journal)
    entries = tail.read()
    other = tmp_path / "other"
    other.write_bytes(line_of(0, entries[0]))
    other.replace(run.journal)
    with pytest.raises(DamagedError, match="replaced by another journal"):
        tail.read()
    run.journal.unlink()
    with pytest.raises(DamagedError, match="is gone"):
        tail.read()


def test_a_beacon_is_a_courtesy(run, tmp_path):
    """A link in its place, no folder, many threads: nothing is written through, or raised."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    run.progress.with_name(".progress.json.tmp").symlink_to(victim)
    with ProgressFile(run.progress) as progress_file:
        progress_file.on_progress("ash", "merge", 1, 2)
    assert victim.read_text() == "mine"
    with ProgressFile(tmp_path / "nowhere/progress.json") as progress_file:
        progress_file.on_progress("ash", "merge", 1, 2)

    clock = iter(range(10_000))
    with ProgressFile(tmp_path / "p.json", now=lambda: float(next(clock))) as progress_file:
        threads = [
            threading.Thread(target=progress_file.on_progress, args=(f"m{n}", "score", n, 100))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        at, tasks = read_progress(tmp_path / "p.json")
        assert at <= time.time()
        assert {task.model for task in tasks} == {f"m{n}" for n in range(20)}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"at": 1, "tasks": [{}]}', '{"at": "x"}'])
def test_a_damaged_beacon_says_nothing(tmp_path, text):
    path = tmp_path / "progress.json"
    path.write_text(text)
    assert read_progress(path) == (0.0, ())
