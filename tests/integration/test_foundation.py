"""Foundation models as transformers writes them, and as the hub's cache holds them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from evomerge.adapters.foundation import Resolved, resolve_all
from evomerge.adapters.hub import Hub
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def write_model(
    folder: Path, seed: int, rows: int = 64, llama: bool = False, shard: str = "1GB", **sizes: int
) -> Path:
    torch.manual_seed(seed)
    settings = {**SIZES, **sizes, "vocab_size": rows}
    model = (
        LlamaForCausalLM(LlamaConfig(**settings))
        if llama
        else MistralForCausalLM(MistralConfig(**settings))
    )
    model.save_pretrained(folder, max_shard_size=shard)
    vocabulary = {f"t{row}": row for row in range(rows)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="t0").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "base": write_model(root / "base", 0),
        "more-rows": write_model(root / "more-rows", 1, rows=66),
        "sharded": write_model(root / "sharded", 2, shard="8KB"),
        "llama": write_model(root / "llama", 3, llama=True),
        "wide": write_model(root / "wide", 4, intermediate_size=48),
        "deep": write_model(root / "deep", 5, num_hidden_layers=3),
    }


def resolve(made: Mapping[str, Path], digests: Path, *names: str) -> tuple[Resolved, ...]:
    base, *others = (ModelConfig(model=str(made[name])) for name in ("base", *names))
    return resolve_all(base, others, MergeOptions(), digests, Hub())


def test_models_of_transformers_are_fit(made: Mapping[str, Path], tmp_path: Path) -> None:
    assert len(list(made["sharded"].glob("*.safetensors"))) > 1
    resolved = resolve(made, tmp_path / "digests.json", "more-rows", "sharded")
    assert [model.foundation.vocabulary for model in resolved] == [64, 66, 64]
    assert len({model.foundation.content_id for model in resolved}) == 3
    assert resolve(made, tmp_path / "digests.json", "more-rows", "sharded") == resolved


def test_models_that_do_not_fit_are_all_named(made: Mapping[str, Path], tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as caught:
        resolve(made, tmp_path / "digests.json", "llama", "wide", "deep", "sharded")
    message = caught.value.message
    assert message.startswith("3 models cannot be used:")
    assert "llama (" in message
    assert "LlamaForCausalLM" in message
    assert "wide (" in message
    assert "[48, 16]" in message
    assert "deep (" in message
    assert "model.layers.2" in message
    assert not (tmp_path / "digests.json").exists()


RESOLVE = """
import sys
from pathlib import Path
from evomerge.adapters.foundation import resolve_all
from evomerge.adapters.hub import Hub
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError
try:
    for model in resolve_all(
        ModelConfig(model=sys.argv[2]), [ModelConfig(model=m) for m in sys.argv[3:]],
        MergeOptions(), Path(sys.argv[1]), Hub(),
    ):
        print(model.foundation.content_id, model.foundation.name, model.path)
except PreflightError as error:
    print("PREFLIGHT", error)
"""


def run(tmp_path: Path, *models: str, **environment: str) -> str:
    shown = subprocess.run(
        [sys.executable, "-c", RESOLVE, str(tmp_path / "digests.json"), *models],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_canary", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hf_canary" not in shown.stdout + shown.stderr
    return shown.stdout


def fill_cache(tmp_path: Path, source: Path) -> Path:
    """The layout of the hub's cache, as a download leaves it."""
    cached = tmp_path / "hf" / "hub" / "models--org--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    shutil.copytree(source, cached / "snapshots" / COMMIT)
    return cached / "snapshots" / COMMIT


@pytest.mark.parametrize("text", ["org/model", f"org/model@{COMMIT}", "org/model@main"])
def test_a_cached_hub_model_needs_no_network(
    made: Mapping[str, Path], tmp_path: Path, text: str
) -> None:
    snapshot = fill_cache(tmp_path, made["sharded"])
    shown = run(tmp_path, str(made["base"]), text, HF_HUB_OFFLINE="1")
    assert shown.splitlines()[1] == f"hub-{COMMIT} model {snapshot}"


def test_a_cached_hub_model_that_lacks_a_shard(made: Mapping[str, Path], tmp_path: Path) -> None:
    snapshot = fill_cache(tmp_path, made["sharded"])
    shard = max(snapshot.glob("*.safetensors"))
    shard.unlink()
    shown = run(tmp_path, str(made["base"]), "org/model", HF_HUB_OFFLINE="1")
    assert shown.startswith("PREFLIGHT model (org/model): ")
    assert shard.name in shown or "hub cannot be reached" in shown


@pytest.mark.parametrize(
    "environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}]
)
def test_an_unknown_name_without_a_network_is_one_line(
    made: Mapping[str, Path], tmp_path: Path, environment: dict[str, str]
) -> None:
    shown = run(tmp_path, str(made["base"]), "modles/base", **environment)
    line, remedy = shown.splitlines()
    assert line.startswith("PREFLIGHT base (modles/base): neither a folder here nor")
    assert "HF_HUB_OFFLINE" in remedy
