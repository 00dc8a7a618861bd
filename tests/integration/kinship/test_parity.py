"""`--parity` against numbers that the public tool itself gave.

RECORDED was taken by calling `metrics.calculate` and `metrics.calculate_split` of
zjunlp/ModelKinship (commit f3f4eb2), unchanged, on the models of `family`, which it loaded with
AutoModelForCausalLM in float32 (torch 2.13.0, transformers 5.23.0, one thread). To take it again:
write `family` to folders, and give the folders to `extract_delta_parameters` and
`calculate_model_kinship`, or to `calculate_model_kinship_split`, with metrics pcc, cs and ed.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from evomerge.kinship.errors import KinshipError
from evomerge.kinship.parity import METRICS, parity

HIDDEN, INNER, ROWS = 16, 40, 48
# (tied head, split, the model beside a): pcc, cs, ed
RECORDED = {
    (False, False, "b"): (-0.26275116205215454, 0.262781023979187, 6.431792736053467),
    (False, False, "wide"): (0.4184723496437073, 0.4184832274913788, 4.628568172454834),
    (False, True, "b"): (-0.2631, 0.2626, 2.3583),
    (False, True, "wide"): (0.4194, 0.4188, 1.6993),
    (True, False, "b"): (-0.2467133104801178, 0.2464587241411209, 6.335587501525879),
    (True, False, "wide"): (0.39434489607810974, 0.3943276107311249, 4.685487270355225),
    (True, True, "b"): (-0.2469, 0.246, 2.316),
    (True, True, "wide"): (0.3926, 0.3919, 1.7222),
}


def shapes(rows, tied):
    layer = {
        "input_layernorm": (HIDDEN,),
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "post_attention_layernorm": (HIDDEN,),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    return {
        "model.embed_tokens.weight": (rows, HIDDEN),
        **{f"model.layers.0.{name}.weight": size for name, size in layer.items()},
        "model.norm.weight": (HIDDEN,),
        **({} if tied else {"lm_head.weight": (rows, HIDDEN)}),
    }


def family(folder, tied=False):
    """A base, `a` and `b` that changed from it against one another, and `wide` with more rows.

    Their final norms did not change, so that a split value is undefined there.
    """
    stream = np.random.RandomState(7)
    base = {name: stream.standard_normal(size) for name, size in shapes(ROWS, tied).items()}
    common = {name: stream.standard_normal(size) for name, size in shapes(ROWS, tied).items()}
    folders = {}
    for model, (rows, alike) in {
        "base": (ROWS, 0), "a": (ROWS, 1), "b": (ROWS, -0.4), "wide": (ROWS + 5, 0.7),
    }.items():  # fmt: skip
        weights = {}
        for name, size in shapes(rows, tied).items():
            weight = base[name].copy()
            if model != "base" and name != "model.norm.weight":
                weight += 0.05 * (alike * common[name] + stream.standard_normal(weight.shape))
            more = stream.standard_normal((size[0] - len(weight), *size[1:]))
            weights[name] = torch.tensor(np.concatenate([weight, more]), dtype=torch.float32)
        folders[model] = folder / model
        folders[model].mkdir(parents=True)
        save_file(weights, folders[model] / "model.safetensors", metadata={"format": "pt"})
        config = {
            "architectures": ["MistralForCausalLM"], "model_type": "mistral",
            "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": rows,
            "max_position_embeddings": 64, "tie_word_embeddings": tied, "dtype": "float32",
        }  # fmt: skip
        (folders[model] / "config.json").write_text(json.dumps(config))
    return folders


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    return {tied: family(tmp_path_factory.mktemp("family"), tied) for tied in (False, True)}


@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_the_numbers_of_the_public_tool(families, case):
    tied, split, other = case
    folders = families[tied]
    models = {"a": folders["a"], other: folders[other]}
    found = parity(folders["base"], models, split=split)
    # It prints four digits of split results, and sums the others in float32.
    allowed = {"abs": 5.1e-5} if split else {"rel": 2e-6}
    for metric, recorded in zip(METRICS, RECORDED[case], strict=True):
        assert found.values[metric][0][1] == pytest.approx(recorded, **allowed)
        assert found.values[metric][1][0] == found.values[metric][0][1]
        assert found.values[metric][0][0] == (0 if metric == "euclidean" else 1)
    assert not found.notes


def test_where_the_public_tool_fails(families, tmp_path):
    folders = families[False]
    models = {name: folders[name] for name in "ab"}
    with pytest.raises(KinshipError, match=r"lm_head.* 53 rows in the base and 48"):
        parity(folders["wide"], models)
    found = parity(folders["wide"], models, split=True)
    assert len(found.notes) == 2
    assert all("left out" in note for note in found.notes)
    headless = tmp_path / "headless"
    headless.mkdir()
    save_file({"model.norm.weight": torch.ones(4)}, headless / "model.safetensors")
    (headless / "config.json").write_text("{}")
    with pytest.raises(KinshipError, match=r"no lm_head.weight"):
        parity(headless, models)
    with pytest.raises(KinshipError, match="has no cosine"):
        parity(folders["base"], models, metrics=["cosine"])


def test_a_model_equal_to_the_base_is_undefined_not_a_number(families):
    folders = families[False]
    models = {"a": folders["a"], "twin": folders["base"]}
    found = parity(folders["base"], models)
    assert found.values["pcc"][0][1] is None
    assert found.values["cosine_abs"][0][1] is None
