"""The experiment of the paper against a hub, as `configs/mistral7b.yaml` has it, killed on its way.

The models are tiny and the items made up; everything else is what a person on a GPU machine does:
run, be killed in a download, a merge and an evaluation, go on, run the greedy arm, export, push.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from loopback import Fault
from loopback import Hub as Server
from loopback.contents import (
    ADAPTER,
    GSM8K,
    MODELS,
    OWNER,
    PICKLED,
    TOKEN,
    TRUTHFUL,
    WINOGRANDE,
)

from evomerge.domain.state import RunState, fold
from evomerge.store.faults import VARIABLE
from evomerge.store.journal import read_journal

from .test_signals import HANGS, ROOT, started, until


def evomerge(folder: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evomerge", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


def state(folder: Path, run: str) -> RunState:
    return fold(read_journal(folder / "runs" / run / "journal.jsonl").entries)


def test_the_experiment_of_the_paper(
    server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ROOT / "configs" / "mistral7b.yaml"
    hanging = Fault(r"CDN GET /openchat.*safetensors/\w+$", kind="hang")
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "10000")
    with server.failing(hanging):
        process = started(tmp_path)
        until(lambda: hanging.seen, process)
        process.kill()
        process.communicate(timeout=HANGS)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    assert len(list(home.glob("hub/models--*/snapshots/*/*.safetensors"))) == 5, "they stay"

    # In the evaluation of the second foundation model, then in the first merge.
    for point in ("artefact.started:2:kill", "artefact.started:3:kill"):
        killed = evomerge(tmp_path, "run", config, "--plain", **{VARIABLE: point})
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    commits = {name: server.repositories["datasets", name].commit() for name in DATA}
    assert state(tmp_path, "mistral7b").start.data_sets == commits

    server.requests.clear()
    done = evomerge(tmp_path, "resume", "mistral7b", "--plain")
    assert done.returncode == 0, done.stderr
    assert not server.requests, "models and data sets are here at the commits it began with"
    ended = state(tmp_path, "mistral7b")
    assert ended.finished
    assert [each.commit for each in (ended.start.base, *ended.start.foundation)] == [
        server.repositories["models", name].commit() for name in MODELS
    ]
    assert {task.task for task in ended.best.scores.tasks} == TASKS
    assert evomerge(tmp_path, "verify", "mistral7b").returncode == 0

    greedy = evomerge(tmp_path, "run", ROOT / "configs" / "mistral7b-greedy.yaml", "--plain")
    assert greedy.returncode == 0, greedy.stderr
    assert state(tmp_path, "mistral7b-greedy").reused_merges >= 3, "the arms share the store"

    push = ("export", "mistral7b", "--to", "best", "--push", f"{OWNER}/best")
    with server.failing(Fault(r"POST .*/commit/", status=403)):
        refused = evomerge(tmp_path, *push)
    assert refused.returncode == 3
    assert "the hub does not allow it with this token" in refused.stderr
    assert "Traceback" not in refused.stderr
    pushed = evomerge(tmp_path, *push)
    assert pushed.returncode == 0, pushed.stderr
    there = server.repositories["models", f"{OWNER}/best"]
    assert there.private
    exported = {path.name: path.read_bytes() for path in (tmp_path / "best").iterdir()}
    assert {name: there.files[name] for name in exported} == exported

    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in done.stdout + done.stderr + pushed.stdout + pushed.stderr


def test_an_adapter_and_a_pickled_model_are_parents_like_others(home: Path, tmp_path: Path) -> None:
    """Both become whole safetensors models in the store, which merges and kinship read."""
    config = ROOT / "configs" / "mistral7b.yaml"
    settings = [
        f"foundation_models=[{ADAPTER}, {{model: {PICKLED}, name: Pickled}}]",
        "evaluation.tasks=[{name: winogrande, metric: acc}]",
        "merge.options.allow_pickle=true",
        "stopping=[max_generations: 1]",
        "execution.report=false",
    ]
    words = [word for each in settings for word in ("--set", each)]
    done = evomerge(tmp_path, "run", config, *words, "--plain")
    assert done.returncode == 0, done.stderr
    ended = state(tmp_path, "mistral7b")
    (child,) = ended.at_generation(1)
    assert child.scores is not None
    for each in ended.start.foundation:
        made = tmp_path / "runs" / "store" / "models" / each.content_id
        assert list(made.glob("model*.safetensors"))
        assert not list(made.glob("*.bin"))
        assert (made / "manifest.json").exists()
    assert evomerge(tmp_path, "kinship", "mistral7b", "--parity").returncode == 0
    gone = evomerge(tmp_path, "gc")
    assert "hub-" not in gone.stdout, "its pickled parent is not superfluous"


DATA = (WINOGRANDE, GSM8K, TRUTHFUL)
TASKS = {"winogrande", "gsm8k", "truthfulqa_mc2"}
