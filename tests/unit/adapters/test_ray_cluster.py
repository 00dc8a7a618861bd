"""Room for workers in a cluster, and addresses at which there is none; no cluster is needed."""

import os
import socket

import pytest

from evomerge.adapters.ray_cluster import Cluster, Node
from evomerge.config import ExecutionConfig
from evomerge.domain.errors import PreflightError
from evomerge.testing.landscape_run import landscape_config


def nodes(*sizes):
    """Nodes with (CPUs, GPUs, GB) each."""
    return [
        Node(str(number), f"host-{number}", {"CPU": cpus, "GPU": gpus, "memory": gb * 1e9})
        for number, (cpus, gpus, gb) in enumerate(sizes)
    ]


def room(found, **execution):
    config = landscape_config(execution={"executor": "ray", **execution})
    scoring, merging = Cluster(config.execution).shares(config, found)
    return scoring.count, scoring.num_gpus, merging.count


def test_every_gpu_has_an_evaluation_worker():
    assert room(nodes((16, 1, 64), (16, 4, 64))) == (5, 1.0, 1)


def test_without_gpus_every_cpu_that_merges_leave():
    assert room(nodes((4, 0, 8), (4, 0, 8)), merge_workers=2) == (6, 0.0, 2)


def test_shares_of_a_gpu_and_memory():
    half = {"gpus": 0.5, "memory_gb": 20}
    assert room(nodes((16, 1, 64), (16, 2, 30)), evaluation=half) == (3, 0.5, 1)


def test_merges_leave_the_nodes_with_gpus_to_evaluations():
    found = nodes((2, 2, 64), (2, 0, 64))
    assert room(found, merge_workers=2) == (2, 1.0, 2)


@pytest.mark.parametrize(
    ("execution", "missing"),
    [
        ({"evaluation": {"gpus": 3}}, "1 of 1 evaluation workers, each with 1 CPUs, 3 GPUs"),
        ({"evaluation_workers": 3}, "1 of 3 evaluation workers, each with 1 CPUs, 1 GPUs"),
        ({"merge": {"memory_gb": 80}}, "1 of 1 merge workers, each with 1 CPUs, 80 GB"),
    ],
)
def test_missing_room_is_said_with_what_the_nodes_have(execution, missing):
    with pytest.raises(PreflightError, match=missing) as refused:
        room(nodes((8, 2, 64)), **execution)
    assert "host-0 (8 CPUs, 2 GPUs, 64 GB)" in refused.value.message


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_no_cluster_at_the_address_is_one_line(address):
    pytest.importorskip("ray")
    with socket.socket() as nothing:
        nothing.bind(("127.0.0.1", 0))
        place = address.format(nothing.getsockname()[1])
        with pytest.raises(PreflightError) as refused:
            Cluster(ExecutionConfig(address=place)).connect()
    assert f"no Ray cluster answers at {place}" in refused.value.message
    assert refused.value.exit_code == 3


def test_a_refused_token_is_one_line_and_ray_says_the_rest_in_the_log(monkeypatch, capfd, tmp_path):
    """Ray's C++ part repeats the reason on stderr, every second; its exception has none."""
    ray = pytest.importorskip("ray")

    reason = "Unauthenticated: RPC error: InvalidAuthToken: missing or incorrect\n"

    def refusing(*_, **__):
        os.write(2, 2 * reason.encode())
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr(ray, "init", refusing)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(PreflightError, match="refuses this process: its token is missing"):
            Cluster(ExecutionConfig(address=address), tmp_path / "logs/ray.log").connect()
    assert capfd.readouterr().err == ""
    assert (tmp_path / "logs/ray.log").read_text().count("InvalidAuthToken") == 2
