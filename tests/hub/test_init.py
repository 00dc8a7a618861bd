"""`evomerge init --from` over a hub: cards, headers, and what a hub refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from loopback import Hub as Server
from loopback.contents import ADAPTER, BASE, CHAT, INSTRUCT, MATHS, PICKLED

from evomerge.configfile import load
from tests.conftest import command


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str) -> str:
    done = command("init", "--task", "gsm8k", *words)
    assert done.code == 0, done.err
    assert command("validate", "evomerge.yaml").code == 0
    return Path("evomerge.yaml").read_text()


def test_the_card_names_the_base_and_no_weights_are_fetched(here: Path, server: Server) -> None:
    text = init("--from", MATHS, INSTRUCT)
    config = load(Path("evomerge.yaml"))
    assert config.base_model.model == BASE
    assert config.merge.method == "regmean_pp"
    assert config.merge.dtype == "bfloat16"
    assert "named by MetaMath-Mistral-7B (Mistral-7B-Instruct-v0.2 names none)" in text
    assert not [each for each in server.requests if "GET" in each and "safetensors" in each
                and "bytes=" not in each and "CDN" in each]  # fmt: skip


def test_a_longer_vocabulary_gets_a_rule_that_takes_it(here: Path) -> None:
    assert "tokenizer: auto  # 400 to 402 tokens" in init("--from", MATHS, CHAT)
    assert load(Path("evomerge.yaml")).merge.method == "wudi"


def test_an_adapter_names_its_base_and_pickles_are_only_named(here: Path) -> None:
    text = init("--from", MATHS, ADAPTER, PICKLED, "--aim", "best")
    assert "LoRA adapter of rank 2" in text
    assert "# pickled-MetaMath-Mistral-7B: pickled weights" in text


def test_what_the_hub_refuses_is_one_line(here: Path, server: Server) -> None:
    done = command("init", "--from", MATHS, "meta-math/none")
    assert (done.code, "none (meta-math/none): it is neither" in done.err) == (3, True)
    repository = server.repositories["models", INSTRUCT]
    repository.gated = True
    try:
        done = command("init", "--from", MATHS, INSTRUCT)
    finally:
        repository.gated = False
    assert done.code == 3
    assert "Mistral-7B-Instruct-v0.2 (mistralai/Mistral-7B-Instruct-v0.2): the licence" in done.err
    assert not Path("evomerge.yaml").exists()
