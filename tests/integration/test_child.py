"""A child process that is killed in the middle of real work."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import MistralConfig, MistralForCausalLM

from evomerge.adapters.mergekit import worker
from evomerge.config import MergeOptions
from evomerge.domain.errors import CandidateError
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.execution import operations
from evomerge.execution.pool import unseen
from evomerge.ports import Operation

RECIPE = Recipe(
    method="slerp",
    parents=(Ingredient(model="a"), Ingredient(model="b")),
    base="a",
    parameters={"t": 0.5},
    engine="mergekit",
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folders = {}
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        folders[name] = tmp_path_factory.mktemp(name)
        config = MistralConfig(
            vocab_size=64,
            hidden_size=512,
            intermediate_size=1024,
            num_hidden_layers=8,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
        MistralForCausalLM(config).save_pretrained(folders[name])
    return folders


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_merge_that_is_killed_fails_and_the_next_one_works(
    inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    merger = worker(tmp_path / "log")
    before = set(children(os.getpid()))

    def merge(into: Path) -> Operation:
        return operations.merge(RECIPE, MergeOptions(), inputs.__getitem__, into)

    def kill(done: int, total: int) -> None:
        assert done < total / 2
        (child,) = set(children(os.getpid())) - before
        os.kill(child, signal.SIGKILL)

    try:
        (tmp_path / "first").mkdir()
        with pytest.raises(CandidateError, match="mergekit child was killed by SIGKILL"):
            merger.run(merge(tmp_path / "first"), kill)
        (tmp_path / "second").mkdir()
        merger.run(merge(tmp_path / "second"), unseen)
    finally:
        merger.close()
    assert load_file(tmp_path / "second" / "model.safetensors")
