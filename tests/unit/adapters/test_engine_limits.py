"""What an engine refuses, told before it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evomerge.adapters import machine
from evomerge.adapters.foundation.engine import EngineLimits
from evomerge.config import Config
from evomerge.domain.errors import PreflightError

MISTRAL = {
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "max_position_embeddings": 32768,
}
ON_80_GB = EngineLimits(max_length=None, gpus=1, room=72e9, on_cpu=False)
SIZE = 14_483_464_192


def faults(limits: EngineLimits, size: int | None = SIZE, **config: Any) -> list[str]:
    return [message for message, _ in limits.faults({**MISTRAL, **config}, size)]


def configured(devices: list[str], backend: str = "vllm", **more: Any) -> Config:
    return Config.model_validate(
        {
            "run": {"name": "x"},
            "base_model": "o/b",
            "foundation_models": ["o/x", "o/y"],
            "merge": {"method": "slerp", "options": more.pop("options", {})},
            "evaluation": {"tasks": ["winogrande"], "backend": backend, "model_args": more},
            "execution": {"devices": devices},
        }
    )


def test_a_7b_model_fits_a_large_card_and_not_a_small_one_with_all_its_context() -> None:
    assert faults(ON_80_GB) == []
    small = replace(ON_80_GB, room=18e9)  # of 20 GB
    assert faults(small) == [
        "vLLM needs about 21 GB for it with 32768 tokens of context, and may use 18 GB of a GPU"
    ]
    assert faults(replace(small, max_length=4096)) == []
    assert faults(replace(small, gpus=2)) == []
    assert faults(small, size=None) == []


def test_a_window_beyond_the_model_s() -> None:
    longer = replace(ON_80_GB, max_length=40_000)
    assert faults(longer) == ["evaluation.max_length is 40000, and its window 32768 tokens"]
    assert faults(longer, rope_scaling={"rope_type": "yarn", "factor": 4.0}) == []
    assert faults(replace(longer, max_length=32_768)) == []


def test_heads() -> None:
    on_cpu = replace(ON_80_GB, on_cpu=True, room=None)
    assert "have 16 dimensions" in faults(on_cpu, head_dim=16)[0]
    assert faults(on_cpu) == []
    assert faults(ON_80_GB, head_dim=16) == []
    assert "divided among 3 GPUs" in faults(replace(ON_80_GB, gpus=3))[0]


def test_the_limits_of_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = (machine.Gpu("H100", 80_000_000_000, 0), machine.Gpu("A10", 24_000_000_000, 0))
    monkeypatch.setattr(machine, "gpus", lambda: cards)
    assert EngineLimits.of(configured(["cuda:0"], "hf")) is None
    alone = EngineLimits.of(configured(["cuda:0"]))
    shared = EngineLimits.of(configured(["cuda:0"], options={"device": "cuda"}))
    stated = EngineLimits.of(configured(["cuda:0"], gpu_memory_utilization=0.5))
    assert [each and each.room for each in (alone, shared, stated)] == [21.6e9, 18e9, 12e9]
    on_cpu = EngineLimits.of(configured(["cpu"]))
    assert on_cpu == EngineLimits(None, 1, None, on_cpu=True)


def test_devices_become_engines() -> None:
    four = [f"cuda:{number}" for number in range(4)]
    assert machine.engines(configured(four)) == tuple(four)
    two = configured(four, tensor_parallel_size=2)
    assert machine.engines(two) == ("cuda:0+cuda:1", "cuda:2+cuda:3")
    whole = configured(four, tensor_parallel_size=2, pipeline_parallel_size=2)
    assert machine.engines(whole) == ("cuda:0+cuda:1+cuda:2+cuda:3",)
    assert machine.engines(configured(four, "hf", tensor_parallel_size=2)) == tuple(four)
    for devices, more in ((four[:3], {}), (["cuda:0*2"], {"gpu_memory_utilization": 0.4})):
        with pytest.raises(PreflightError, match="engines of 2"):
            machine.engines(configured(devices, tensor_parallel_size=2, **more))


def test_engines_that_share_a_gpu() -> None:
    twice = ["cuda:0*2"]
    with pytest.raises(PreflightError, match="2 vllm engines on one GPU"):
        machine.engines(configured(twice))
    assert machine.engines(configured(twice, gpu_memory_utilization=0.4)) == ("cuda:0", "cuda:0")
    assert machine.engines(configured(twice, "hf")) == ("cuda:0", "cuda:0")
    assert machine.engines(configured(["cpu*2"])) == ("cpu", "cpu")
