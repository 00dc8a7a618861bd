"""Runs on a Ray cluster of two nodes: the same decisions, whatever is killed."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from evomerge.config import EvaluationConfig, ExecutionConfig
from evomerge.domain.digest import decision_digest
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.domain.state import fold
from evomerge.store.journal import read_journal
from evomerge.testing.contracts import (
    MeasuringContract,
    MergingContract,
    ScoringContract,
    WorkerContract,
    World,
)
from evomerge.testing.landscape import make_base, make_foundation
from evomerge.testing.landscape_run import landscape_config, run_landscape

from .conftest import NAME, small_run

pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

from evomerge.adapters.ray_cluster import Cluster  # noqa: E402

from .held_landscape import ray_worker  # noqa: E402

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


def processes(*words):
    """The pids of the processes with all these words in their command line or their log's name."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            text = (place / "cmdline").read_text().replace("\0", " ")
            text += str((place / "fd" / "2").readlink())
        except OSError:
            continue
        if all(word in text for word in words):
            found.append(int(place.name))
    return found


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes; the second one can be removed and added."""
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False}
    )
    made.add_node(**NODE)
    yield made
    made.shutdown()


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

    @pytest.fixture(scope="class")
    def world(self, tmp_path_factory):
        root = tmp_path_factory.mktemp("world")
        base = make_base(root / "base")
        models = [make_foundation(root / name, name, seed) for seed, name in enumerate("abc")]
        folders = {model.content_id: root / model.name for model in models}
        (root / "broken").mkdir()
        parents = tuple(Ingredient(model=name) for name in list(folders)[:2])
        return World(
            base=base.content_id,
            folders={**folders, base.content_id: root / "base"},
            recipe=Recipe(
                method="dare_ties",
                parents=parents,
                base=base.content_id,
                seed=5,
                engine="landscape 1",
            ),
            evaluation=EvaluationConfig.model_validate({"tasks": ["landscape"]}),
            broken=root / "broken",
        )


def test_real_models_give_the_decisions_of_this_machine(nodes, finished, tiny, evomerge, tmp_path):
    runs, _ = finished
    local = decision_digest(fold(read_journal(runs / NAME / "journal.jsonl").entries))
    settings = ("execution.executor=ray", f"execution.address={nodes.address}")
    done = evomerge(*small_run(tmp_path, tiny, *settings), "--json", timeout=HANGS)
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
