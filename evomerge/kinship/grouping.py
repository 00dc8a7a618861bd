"""The layer and the kind of a tensor, derived from its name."""

from __future__ import annotations

import re
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of tensors that kinship is broken down by."""

    ATTENTION = "attention"
    MLP = "mlp"
    NORM = "norm"
    EMBEDDING = "embedding"
    OTHER = "other"


# The first match decides: `self_attn.q_norm` and `post_attention_layernorm` are norms.
_KINDS = (
    (Kind.NORM, re.compile(r"norm|(^|\.)ln(_|\.|\d)")),
    (Kind.EMBEDDING, re.compile(r"embed|(^|\.)(lm_head|output_head|wte|wpe)(\.|$)")),
    (Kind.ATTENTION, re.compile(r"attn|attention")),
    (Kind.MLP, re.compile(r"mlp|ffn|feed_forward|experts|(^|_|\.)moe(_|\.)|(^|\.)(w[123]|fc\d)\.")),
)


def kind_of(name: str) -> Kind:
    """The kind of a tensor; both vocabulary matrices (`embed_tokens`, `lm_head`) are embeddings."""
    lowered = name.lower()
    return next((kind for kind, pattern in _KINDS if pattern.search(lowered)), Kind.OTHER)


def layer_of(name: str) -> str | None:
    """The layer of a tensor: its name up to the first number (`model.layers.3`).

    None for tensors outside layers: embeddings, the last norm, the output head.
    """
    parts = name.split(".")
    for index, part in enumerate(parts):
        if index and part.isdecimal():
            return ".".join(parts[: index + 1])
    return None


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which `layers.2` comes before `layers.10`."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    )
