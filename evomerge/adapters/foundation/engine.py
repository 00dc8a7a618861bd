"""What a vLLM engine will refuse of a model, known from its config and the size of its weights.

Everything else that it refuses, it says when the first foundation model is scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evomerge.adapters import machine
from evomerge.config import Config

_CPU_HEADS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Sizes of attention heads that its CPU kernels have (vLLM 0.32)."""
_WORK = 2e9  # bytes besides weights and cache: context, activations, graphs
_STRETCHED = {"linear", "dynamic", "yarn", "longrope", "su", "mrope"}
"""Rotary embeddings with which a window may be longer than `max_position_embeddings`."""


@dataclass(frozen=True)
class EngineLimits:
    """The settings of an evaluation that decide whether an engine takes a model.

    Attributes:
        max_length: of a sequence in tokens; None for all that the model can take.
        gpus: how many hold one model together.
        room: bytes that an engine may use of each GPU; None without a GPU, or if unknown.
        on_cpu: whether models are scored on the CPU.
    """

    max_length: int | None
    gpus: int
    room: float | None
    on_cpu: bool

    @classmethod
    def of(cls, config: Config) -> EngineLimits | None:
        """The limits of a config on this machine; None for other backends."""
        evaluation = config.evaluation
        if evaluation.backend != "vllm":
            return None
        if config.execution.executor == "ray":  # its GPUs are those of other machines
            return cls(evaluation.max_length, evaluation.gpus_per_engine, None, on_cpu=False)
        devices = machine.devices(config.execution.devices)
        share = evaluation.gpu_share(merges_on_gpu=config.merge.options.on_gpu)
        found = machine.gpus() if devices != ("cpu",) else None
        room = min(gpu.memory for gpu in found) * share if found else None
        return cls(evaluation.max_length, evaluation.gpus_per_engine, room, devices == ("cpu",))

    def faults(self, config: Mapping[str, Any], size: int | None) -> Iterator[tuple[str, str]]:
        """What stands against a model, each with its remedy.

        Args:
            config: of the model.
            size: bytes of its weights, None if unknown.
        """
        heads, window = _number(config, "num_attention_heads"), _window(config)
        head = _number(config, "head_dim") or (
            _number(config, "hidden_size") // heads if heads else 0
        )
        if self.on_cpu and head and head not in _CPU_HEADS:
            text = f"its attention heads have {head} dimensions, and vLLM on a CPU has no kernel"
            yield text, "set `evaluation.backend: hf`"
        if self.max_length and window and self.max_length > window:
            text = f"evaluation.max_length is {self.max_length}, and its window {window} tokens"
            yield text, f"set `evaluation.max_length` to {window} or less"
        if heads and heads % self.gpus:
            text = f"its {heads} attention heads cannot be divided among {self.gpus} GPUs"
            yield text, "set `tensor_parallel_size` in `evaluation.model_args` to a divisor"
        tokens = self.max_length or window
        if self.room is not None and size and tokens:
            wanted = (size + tokens * _cache(config, head)) / self.gpus + _WORK
            if wanted > self.room:
                needed, room = (f"{each / 1e9:.0f} GB" for each in (wanted, self.room))
                text = f"vLLM needs about {needed} for it with {tokens} tokens of context, "
                text += f"and may use {room} of a GPU"
                yield text, "lower `evaluation.max_length`, or raise `tensor_parallel_size`"


def _cache(config: Mapping[str, Any], head: int) -> float:
    """Bytes of keys and values of one token, in half precision."""
    heads = _number(config, "num_key_value_heads") or _number(config, "num_attention_heads")
    return 2 * 2 * _number(config, "num_hidden_layers") * heads * head


def _window(config: Mapping[str, Any]) -> int:
    """The longest sequence in tokens, 0 if it cannot be told from the config."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, Mapping) else None
    return 0 if kind in _STRETCHED else _number(config, "max_position_embeddings")


def _number(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) else 0
