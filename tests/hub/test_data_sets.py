"""Data sets of the hub: pinned to a commit, and every way in which they cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from loopback import Fault
from loopback import Hub as Server
from loopback.contents import GSM8K, TOKEN, TRUTHFUL, WINOGRANDE

from evomerge.adapters.lm_eval.worker import worker
from evomerge.config import MergeOptions
from evomerge.configfile import load
from evomerge.domain.errors import PreflightError
from evomerge.execution import operations
from evomerge.execution.evaluation import agreed
from evomerge.execution.pool import no_progress
from evomerge.ports import Worker

CONFIG = Path(__file__).parents[2] / "configs" / "mistral7b.yaml"


@pytest.fixture
def scorer(home: Path, tmp_path: Path) -> Iterator[Worker]:
    with closing(worker("hf", "cpu", tmp_path / "score.log")) as made:
        yield made


def described(scorer: Worker, **commits: str) -> dict[str, Any]:
    evaluation = load(CONFIG).evaluation
    data_sets = {name.replace("__", "/"): commit for name, commit in commits.items()}
    return scorer.run(operations.describe(evaluation, MergeOptions(), data_sets), no_progress)


def refused(scorer: Worker) -> str:
    with pytest.raises(PreflightError) as caught:
        described(scorer)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_what_can_be_wrong_with_a_data_set(server: Server, scorer: Worker) -> None:
    gsm8k, truthful = (server.repositories["datasets", name] for name in (GSM8K, TRUTHFUL))
    for fault, text in (
        (Fault("datasets/openai/gsm8k", status=503), "answers 503 (Service Unavailable)"),
        (Fault("datasets/openai/gsm8k", kind="hang"), "does not answer"),
    ):
        with server.failing(fault):
            answer = described(scorer)
        assert (answer["task"], answer["trouble"]["text"]) == ("gsm8k", text)
        with pytest.raises(PreflightError, match=r"task 'gsm8k': its data set: the hub .*"):
            agreed([("scorer", answer)])
    try:
        gsm8k.gated, truthful.private = True, True
        told = refused(scorer)
    finally:
        gsm8k.gated, truthful.private = False, False
    first, second = told.splitlines()
    assert "task 'gsm8k' cannot be loaded: the licence of this data set has to be" in first
    assert f"accept it at https://huggingface.co/datasets/{GSM8K} and set HF_TOKEN" in first
    assert "task 'truthfulqa_mc2' cannot be loaded: it is neither a folder here nor a" in second
    assert f"data set on the hub ({TRUTHFUL})" in second
    assert set(described(scorer)["data_sets"]) == {GSM8K, WINOGRANDE, TRUTHFUL}


def test_a_run_keeps_to_the_commits_of_its_data_sets(
    server: Server, scorer: Worker, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = described(scorer)
    assert first["data_sets"][GSM8K] == server.repositories["datasets", GSM8K].commit()
    files = server.repositories["datasets", GSM8K].files
    before = dict(files)
    try:
        files["main/test-00000-of-00001.parquet"] = before["main/train-00000-of-00001.parquet"]
        server.requests.clear()
        scorer.close()
        now = described(scorer)
        assert now["data_sets"][GSM8K] != first["data_sets"][GSM8K]
        assert now["ids"] != first["ids"]
        scorer.close()
        pinned = {name.replace("/", "__"): commit for name, commit in first["data_sets"].items()}
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            monkeypatch.setenv(name, "1")
        assert described(scorer, **pinned) == first, "without a network, beside a newer one"
    finally:
        files.clear()
        files.update(before)


def test_without_a_network_the_task_is_named(
    scorer: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    lines = refused(scorer).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "evaluation.tasks.0.name: task 'winogrande' cannot be loaded: its data are not on this "
        "machine and the hub is not asked, since HF_HUB_OFFLINE is set"
    )


def test_where_no_connection_comes_about_the_cache_is_taken(
    server: Server, scorer: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = described(scorer)
    scorer.close()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert described(scorer)["ids"] == first["ids"]
    scorer.close()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    lines = refused(scorer).splitlines()
    assert [line.count("machine and the hub cannot be reached") for line in lines] == [1, 1, 1]
