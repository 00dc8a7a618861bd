"""What lies on the hub: tiny Mistral models under true names, and data sets with made-up items.

Nothing is trained: the models answer at random, but every number of a run comes about as for the
true ones. The shapes are those that matter: one model is sharded, one has two rows more, and one
has pickles only.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from loopback.server import Hub

BASE = "mistralai/Mistral-7B-v0.1"
MATHS = "meta-math/MetaMath-Mistral-7B"
INSTRUCT = "mistralai/Mistral-7B-Instruct-v0.2"
CHAT = "openchat/openchat-3.5-1210"
PICKLED = "pickled/MetaMath-Mistral-7B"
ADAPTER = "lora/Mistral-7B-adapter"
MODELS = (BASE, MATHS, INSTRUCT, CHAT)
WINOGRANDE, GSM8K, TRUTHFUL = "allenai/winogrande", "openai/gsm8k", "truthfulqa/truthful_qa"
OWNER, TOKEN = "loopback-user", "hf_loopback_0123456789"

_TEXT = """Q: What is the square root of banana? A: I have no comment. Question: Answer: Lily has 12
apples and gives 5 of them to Tom, so she keeps 12 - 5 = 7. #### 7 The trophy does not fit into the
suitcase because it is too large. Where were the 1992 Olympics held? They were held in Barcelona."""


def fill(hub: Hub) -> None:
    """Put everything on the hub; a user with `TOKEN` may write below `OWNER`."""
    hub.tokens[TOKEN] = OWNER
    tokenizer = _tokenizer()
    origin = _weights(len(tokenizer), seed=0)
    _add(hub, BASE, origin, tokenizer, sharded=True)
    _add(hub, MATHS, _changed(origin, 1), tokenizer)
    _add(hub, INSTRUCT, _changed(origin, 2), tokenizer, rope_theta=1e6, sliding_window=None)
    longer = _tokenizer("<|end_of_turn|>", "<|pad_0|>")
    _add(hub, CHAT, _changed(origin, 3, rows=2), longer)
    _add(hub, PICKLED, _changed(origin, 1), tokenizer, pickled=True)
    hub.add("models", ADAPTER, _adapter(origin))
    for name, files in data_sets().items():
        hub.add("datasets", name, files)


def _tokenizer(*further: str) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([_TEXT], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        pad_token="</s>", model_max_length=1024,
    )  # fmt: skip
    fast.add_special_tokens({"additional_special_tokens": list(further)} if further else {})
    return fast


def _config(rows: int, **settings: Any) -> MistralConfig:
    return MistralConfig(**{
        "vocab_size": rows, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 1024,
        "sliding_window": 4096, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, **settings,
    })  # fmt: skip


def _weights(rows: int, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state = MistralForCausalLM(_config(rows)).state_dict()
    return {name: (10 * each).bfloat16() if each.dim() == 2 else each.bfloat16()
            for name, each in state.items()}  # fmt: skip


def _changed(
    origin: Mapping[str, torch.Tensor], seed: int, rows: int = 0
) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    changed = {}
    for name, each in origin.items():
        noise = torch.randn(each.shape, generator=draw) * each.float().std().clamp(min=0.01) * 0.3
        changed[name] = (each.float() + noise).bfloat16()
        if rows and name in {"model.embed_tokens.weight", "lm_head.weight"}:
            changed[name] = torch.cat([changed[name], changed[name][:rows]])
    return changed


def _add(
    hub: Hub,
    name: str,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerFast,
    *,
    sharded: bool = False,
    pickled: bool = False,
    **settings: Any,
) -> None:
    model = MistralForCausalLM(_config(weights["lm_head.weight"].shape[0], **settings)).bfloat16()
    model.load_state_dict(weights)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model.save_pretrained(folder, max_shard_size="40KB" if sharded else "5GB")
        tokenizer.save_pretrained(folder)
        if pickled:
            (folder / "model.safetensors").unlink()
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    made_from = f"base_model: {BASE}\n" if name in {MATHS, PICKLED, CHAT} else ""
    card = f"---\nlicense: apache-2.0\n{made_from}---\n"
    hub.add("models", name, {**files, "README.md": card.encode()})


def _adapter(origin: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    from peft import LoraConfig, get_peft_model

    model = MistralForCausalLM(_config(origin["lm_head.weight"].shape[0])).bfloat16()
    torch.manual_seed(9)
    settings = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"],
                          base_model_name_or_path=BASE)  # fmt: skip
    tuned = get_peft_model(model, settings)
    for parameter in (each for each in tuned.parameters() if each.requires_grad):
        parameter.data += 0.05 * torch.randn_like(parameter)
    with tempfile.TemporaryDirectory() as place:
        tuned.peft_config["default"].base_model_name_or_path = BASE
        tuned.save_pretrained(place, save_embedding_layers=False)
        return {path.name: path.read_bytes() for path in Path(place).iterdir()}


def data_sets() -> dict[str, dict[str, bytes]]:
    """The three of the paper, in the layout that lm-eval's own task definitions ask for."""
    draw = random.Random(5)
    return {
        WINOGRANDE: _data_set(
            "winogrande_xl",
            train=[_winogrande(draw) for _ in range(8)],
            validation=[_winogrande(draw) for _ in range(10)],
        ),
        GSM8K: _data_set(
            "main",
            train=[_gsm8k(draw) for _ in range(6)],
            test=[_gsm8k(draw) for _ in range(2)],
        ),
        TRUTHFUL: _data_set("multiple_choice", validation=[_truthful(draw) for _ in range(4)]),
    }


def _data_set(name: str, **splits: list[dict[str, Any]]) -> dict[str, bytes]:
    files, card = {}, ["---", "configs:", f"- config_name: {name}", "  data_files:"]
    for split, items in splits.items():
        path = f"{name}/{split}-00000-of-00001.parquet"
        written = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(items), written)
        files[path] = written.getvalue()
        card += [f"  - split: {split}", f"    path: {name}/{split}-*"]
    return {**files, "README.md": "\n".join([*card, "---", ""]).encode()}


def _winogrande(draw: random.Random) -> dict[str, str]:
    big, small = draw.sample(["trophy", "suitcase", "piano", "apple", "boat", "shoe"], 2)
    return {
        "sentence": f"The {big} does not fit into the {small} because the _ is too large.",
        "option1": big,
        "option2": small,
        "answer": draw.choice("12"),
    }


def _gsm8k(draw: random.Random) -> dict[str, str]:
    has, gives = draw.randint(10, 20), draw.randint(1, 9)
    question = f"Lily has {has} apples and gives {gives} to Tom. How many does she keep?"
    return {"question": question, "answer": f"She keeps {has - gives}.\n#### {has - gives}"}


def _truthful(draw: random.Random) -> dict[str, Any]:
    year = draw.randint(1900, 2000)
    choices = [f"Nobody knows {year}.", f"In {year}.", f"In {year + 1}."]
    return {
        "question": f"When was the {year} meeting held?",
        "mc1_targets": {"choices": choices, "labels": [1, 0, 0]},
        "mc2_targets": {"choices": choices, "labels": [1, 1, 0]},
    }


def main() -> None:
    """Serve until interrupted; prints the environment to use."""
    hub = Hub()
    fill(hub)
    with hub:
        sys.stdout.write(json.dumps(hub.environment("HF_HOME")) + "\n")
        sys.stdout.flush()
        hub.closed.wait()


if __name__ == "__main__":
    main()
