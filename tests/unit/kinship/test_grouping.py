"""Layer and kind of a tensor from its name."""

from __future__ import annotations

import pytest

from evomerge.kinship.grouping import kind_of, layer_of, natural


@pytest.mark.parametrize(
    ("name", "kind", "layer"),
    [
        ("model.embed_tokens.weight", "embedding", None),
        ("lm_head.weight", "embedding", None),
        ("model.norm.weight", "norm", None),
        ("model.layers.3.self_attn.q_proj.weight", "attention", "model.layers.3"),
        ("model.layers.3.self_attn.q_norm.weight", "norm", "model.layers.3"),
        ("model.layers.12.mlp.down_proj.weight", "mlp", "model.layers.12"),
        ("model.layers.0.post_attention_layernorm.weight", "norm", "model.layers.0"),
        ("model.layers.1.block_sparse_moe.experts.7.w1.weight", "mlp", "model.layers.1"),
        ("transformer.h.4.attn.c_attn.weight", "attention", "transformer.h.4"),
        ("transformer.h.4.ln_1.weight", "norm", "transformer.h.4"),
        ("transformer.wte.weight", "embedding", None),
        ("model.layers.2.mixer.A_log", "other", "model.layers.2"),
        ("model.rotary.inv_freq", "other", None),
    ],
)
def test_names_tell_kind_and_layer(name, kind, layer):
    assert kind_of(name) == kind
    assert layer_of(name) == layer


def test_numbers_sort_as_numbers():
    names = ["h.10.b", "h.2.b", "h.2.a", "a", "1.a"]
    assert sorted(names, key=natural) == ["1.a", "a", "h.2.a", "h.2.b", "h.10.b"]
