"""Runs on a Ray cluster of two nodes: the same decisions, whatever is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from evomerge import __version__ as evomerge_version
from evomerge.config import ExecutionConfig
from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import CandidateError, WorkerLostError
from evomerge.domain.state import fold
from evomerge.execution import operations
from evomerge.store.journal import read_journal
from evomerge.testing.contracts import (
    MeasuringContract,
    MergingContract,
    ScoringContract,
    WorkerContract,
    ignore,
)
from evomerge.testing.landscape import make_base
from evomerge.testing.landscape_run import landscape_config, run_landscape

from .conftest import CANARY, NAME, TOKENS, small_run

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

from evomerge.adapters import ray_cluster  # noqa: E402
from evomerge.adapters.ray_cluster import Cluster, findings  # noqa: E402

from .held_landscape import ray_worker, run  # noqa: E402

HANGS = 300.0
"""Seconds after which a test is given up: long, because the machine may be busy."""
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
DRIVER = Path(__file__).with_name("held_landscape.py")


def until(condition, seconds=HANGS):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def parent(pid):
    """The pid of the parent of a process: of a child process, its actor."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def raylet(child):
    """The pid of the raylet of the node on which a child process runs."""
    return parent(parent(child))


def runs(pid):
    """Whether a process runs: it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Held:
    """Operations of some kinds wait in their child processes until they are let go."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def hold(self, *kinds):
        for kind in kinds:
            (self.folder / kind).touch()

    def let_go(self, kind):
        (self.folder / kind).unlink()

    def pids(self, kind):
        """The living child processes that have waited in such an operation."""
        found = (int(path.suffix[1:]) for path in self.folder.glob(f"{kind}.*"))
        return [pid for pid in found if runs(pid)]

    def wait_for(self, kind, count=1):
        return until(lambda: len(pids := self.pids(kind)) >= count and pids)


@pytest.fixture
def held(tmp_path):
    return Held(tmp_path / "held")


@contextmanager
def meanwhile(act):
    """Run `act` in a thread beside the body; its errors are raised at the end."""
    errors = []

    def guarded():
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    yield
    thread.join()
    assert not errors


@contextmanager
def two_nodes(**settings):
    """A cluster of two nodes; the second one can be removed and added."""
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False, **settings}
    )
    try:
        made.add_node(**NODE)
        yield made
    finally:
        made.shutdown()


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as made:
        yield made


@pytest.fixture
def cluster(nodes):
    with closing(Cluster(ExecutionConfig(address=nodes.address))) as connected:
        yield connected


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    config = landscape_config(execution={"attempts": 1})
    return decision_digest(run_landscape(tmp_path_factory.mktemp("whole"), config))


class TestContract(WorkerContract, MergingContract, ScoringContract, MeasuringContract):
    @pytest.fixture(scope="class")
    def worker(self, nodes, tmp_path_factory):
        root = tmp_path_factory.mktemp("worker")
        with closing(Cluster(ExecutionConfig(address=nodes.address))) as connected:
            worker = ray_worker(connected, root, root)
            yield worker
            worker.close()

    operation = pytest.fixture(lambda self, world: world.describe())

    world = pytest.fixture(lambda self, landscape_world: landscape_world, scope="class")


def test_real_models_give_the_decisions_of_this_machine(nodes, finished, tiny, evomerge, tmp_path):
    runs, _ = finished
    local = decision_digest(fold(read_journal(runs / NAME / "journal.jsonl").entries))
    settings = ("execution.executor=ray", f"execution.address={nodes.address}")
    done = evomerge(*small_run(tmp_path, tiny, *settings), "--json", timeout=HANGS, env=TOKENS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{"), "Ray prints nothing among it"
    state = fold(read_journal(tmp_path / NAME / "journal.jsonl").entries)
    assert decision_digest(state) == local
    assert not list((tmp_path / "store" / "tmp").iterdir())
    assert {path.stem for path in (tmp_path / NAME / "logs").glob("*.log")} >= {
        "merge-0",
        "score-0",
        "kinship",
    }
    said = (tmp_path / NAME / "logs" / "ray.log").read_text()
    host = socket.gethostname()
    assert f"mergekit child on {host} (log: merge-0.log)" in said
    children = [model for model in state.models.values() if model.generation]
    assert {(child.merged_on, child.scored_on) for child in children} == {(host, host)}
    sessions = Path(nodes.head_node.get_session_dir_path()).parent.glob("session_2*/logs/**/*")
    files = [path for path in (*tmp_path.rglob("*"), *sessions) if path.is_file()]
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_what_stands_against_a_run_is_named_with_its_node(cluster, tmp_path, monkeypatch):
    (tmp_path / "task").touch()
    config = landscape_config(execution={"evaluation_workers": 9})
    folders = [tmp_path / "runs", tmp_path / "task", tmp_path / "elsewhere"]
    monkeypatch.setitem(ray_cluster.__dict__, "__version__", "0.0.1")
    room, *first = [str(each) for each in findings(cluster, config, folders)]
    assert "no room for 7 of 9 evaluation workers" in room
    assert f"other versions there: evomerge {evomerge_version} (here 0.0.1)" in first[0]
    assert f"it does not see {tmp_path / 'elsewhere'}" in first[1]
    assert len(first) == 4, "both of each node"
    monkeypatch.undo()
    fine = [*findings(cluster, landscape_config(), folders[:2])]
    assert [each.severity for each in fine] == ["fine"] * 3


def check_decisions(root, state, uninterrupted):
    assert decision_digest(state) == uninterrupted
    assert not [model for model in state.models.values() if model.failure], "no attempt was counted"
    assert not list((root / "runs/store/tmp").iterdir())


def test_what_was_lost_and_what_died_by_itself_are_told_apart(cluster, held, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", CANARY)
    worker = ray_worker(cluster, tmp_path, held.folder)
    base = make_base(tmp_path / "base")
    measured = operations.measure(
        base.content_id, [], [], lambda _: tmp_path / "base", (), tmp_path
    )
    held.hold("measure")
    with meanwhile(lambda: os.kill(held.wait_for("measure")[0], signal.SIGKILL)):
        with pytest.raises(CandidateError, match="was killed by SIGKILL") as died:
            worker.run(measured, ignore)
    assert not isinstance(died.value, WorkerLostError)

    def kill_the_actor():
        child = held.wait_for("measure")[0]
        for pid in (child, parent(child)):
            assert CANARY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        os.kill(parent(child), signal.SIGKILL)

    with meanwhile(kill_the_actor):
        with pytest.raises(WorkerLostError, match=r"was lost during 'measure': Actor\w+Error"):
            worker.run(measured, ignore)
    held.let_go("measure")
    assert worker.run(measured, ignore) == {"readings": []}

    def lost(asked, **_):
        raise ray.exceptions.ObjectLostError(asked.hex(), asked.owner_address(), "")

    with monkeypatch.context() as lose:  # objects are operations and answers: done again
        lose.setattr("ray.get", lost)
        with pytest.raises(WorkerLostError, match=r"was lost during 'measure': Object\w+Error"):
            worker.run(measured, ignore)
    assert worker.run(measured, ignore) == {"readings": []}


def test_actors_are_killed_in_every_kind_of_work_and_one_stands_still(
    cluster, held, tmp_path, uninterrupted
):
    held.hold("score", "measure", "merge")

    def disturb():
        for kind in ("score", "measure", "merge"):
            pid = held.wait_for(kind)[0]
            os.kill(parent(pid), signal.SIGKILL)
            until(lambda: not runs(pid))  # noqa: B023
            slow = held.wait_for(kind)[0]
            stopped = (slow, parent(slow), raylet(slow)) if kind == "score" else ()
            for each in stopped:
                os.kill(each, signal.SIGSTOP)
            held.let_go(kind)
            time.sleep(2 if stopped else 0)  # another worker goes on
            for each in stopped:
                os.kill(each, signal.SIGCONT)

    with meanwhile(disturb):
        state = run(cluster, tmp_path, held.folder)
    check_decisions(tmp_path, state, uninterrupted)


def driver(address, root, held, *words):
    return subprocess.Popen(
        [sys.executable, str(DRIVER), address, str(root), str(held.folder), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_driver_is_killed_and_later_a_node_is_removed(nodes, held, tmp_path, uninterrupted):
    held.hold("merge", "score")
    process = driver(nodes.address, tmp_path, held)
    children = held.wait_for("score", 2)
    actors = [parent(pid) for pid in children]
    process.kill()
    process.communicate()
    until(lambda: not any(runs(pid) for pid in (*children, *actors)))

    def remove():
        before = held.wait_for("score", 2)
        nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)
        until(lambda: not all(runs(pid) for pid in before))
        held.wait_for("score", 2)
        for kind in ("score", "merge"):
            held.let_go(kind)

    with closing(Cluster(ExecutionConfig(address=nodes.address))) as cluster, meanwhile(remove):
        state = run(cluster, tmp_path, held.folder)
    check_decisions(tmp_path, state, uninterrupted)


FROZEN_AFTER = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
}
"""How soon the head gives up a node that does not answer."""


def test_the_head_is_gone_and_a_node_of_the_next_cluster_freezes(
    nodes, held, tmp_path, uninterrupted
):
    """The children of the frozen node go on; what they write is not used."""
    held.hold("merge", "score")
    process = driver(nodes.address, tmp_path, held, "3")
    held.wait_for("score")
    held.let_go("score")
    held.wait_for("merge")
    nodes.head_node.kill_gcs_server(check_alive=False)
    nodes.head_node.kill_raylet(check_alive=False)
    output, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 75, errors
    assert "the head of the Ray cluster" in errors
    assert "has not answered for 3 s" in errors
    assert not output
    nodes.shutdown()

    given_up = []

    with two_nodes(_system_config=FROZEN_AFTER) as later:
        heads = later.head_node.all_processes["raylet"][0].process.pid

        def freeze():
            held.hold("score")
            held.let_go("merge")
            child = until(lambda: [p for p in held.pids("score") if raylet(p) != heads])[0]
            given_up.extend([child, parent(child), raylet(child)])
            before = set(held.pids("score"))
            os.kill(raylet(child), signal.SIGSTOP)
            until(lambda: set(held.pids("score")) - before)
            assert runs(child)
            held.let_go("score")

        with closing(Cluster(ExecutionConfig(address=later.address))) as cluster, meanwhile(freeze):
            state = run(cluster, tmp_path, held.folder)
        check_decisions(tmp_path, state, uninterrupted)
        os.kill(given_up[-1], signal.SIGKILL)
    until(lambda: not any(map(runs, given_up)))
