from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evomerge.adapters import foundation
from evomerge.adapters.foundation import resolve_all
from evomerge.adapters.hub import Hub
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError

Shapes = Mapping[str, tuple[int, ...]]


def shapes(rows: int = 8, width: int = 4) -> dict[str, tuple[int, ...]]:
    return {
        "model.embed_tokens.weight": (rows, width),
        "model.layers.0.mlp.up_proj.weight": (6, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (rows, width),
    }


def write_weights(file: Path, tensors: Shapes, fill: int = 0) -> None:
    header, end = {}, 0
    for name, shape in tensors.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes([fill]) * end)


def make(folder: Path, tensors: Shapes | None = None, fill: int = 0, **config: Any) -> Path:
    tensors = shapes() if tensors is None else tensors
    folder.mkdir(parents=True)
    rows = tensors.get("model.embed_tokens.weight", (8,))[0]
    content = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": rows}
    (folder / "config.json").write_text(json.dumps({**content, **config}))
    (folder / "tokenizer.json").write_text("{}")
    write_weights(folder / "model.safetensors", tensors, fill)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make(tmp_path / "models" / "base")


def resolve(
    base: Path | str,
    *others: Path | str | ModelConfig,
    digests: Path | None = None,
    **options: Any,
) -> tuple[foundation.Resolved, ...]:
    digests = digests or Path(base).parent / "digests.json"
    models = [
        other if isinstance(other, ModelConfig) else ModelConfig(model=str(other))
        for other in others
    ]
    own = ModelConfig(model=str(base))
    return resolve_all(own, models, MergeOptions(**options), digests, Hub())


def fault(base: Path | str, *others: Path | str, **options: Any) -> PreflightError:
    with pytest.raises(PreflightError) as caught:
        resolve(base, *others, **options)
    return caught.value


def test_local_models_are_resolved_in_order(base: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "models" / "mit Ümlaut und space", shapes(10), fill=1)
    first, second = resolve(base, ModelConfig(model=str(other), name="other"))
    assert (first.foundation.name, second.foundation.name) == ("base", "other")
    assert (first.foundation.vocabulary, second.foundation.vocabulary) == (8, 10)
    assert first.foundation.content_id.startswith("weights1-")
    assert second.path == other
    assert second.foundation.source == str(other)
    assert first.size == (base / "model.safetensors").stat().st_size


def test_the_content_id_depends_on_the_files_that_count_only(base: Path, tmp_path: Path) -> None:
    def identity(folder: Path) -> str:
        return resolve(folder)[0].foundation.content_id

    before = identity(base)
    assert identity(make(tmp_path / "elsewhere" / "copy")) == before
    (base / "README.md").write_text("read me")
    (base / ".git").mkdir()
    (base / "trainer_state.json").write_text("{}")
    assert identity(base) == before
    changed = {before}
    for name in ("tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        (base / name).write_text("{}")
        changed.add(identity(base))
    write_weights(base / "model.safetensors", shapes(), fill=2)
    changed.add(identity(base))
    assert len(changed) == 5


def test_digests_are_computed_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = tmp_path / "new" / "digests.json"
    first = resolve(base, digests=digests)
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)
        assert resolve(base, digests=digests) == first
    write_weights(base / "model.safetensors", shapes(), fill=1)
    assert resolve(base, digests=digests) != first


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', "\xff"])
def test_a_damaged_store_of_digests_costs_time_only(base: Path, tmp_path: Path, text: str) -> None:
    digests = tmp_path / "digests.json"
    digests.write_text(text, encoding="latin-1")
    assert resolve(base, digests=digests) == resolve(base)


def test_sharded_weights(base: Path, tmp_path: Path) -> None:
    sharded = make(tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    names = list(shapes())
    places = {name: f"model-0000{1 + (name == names[0])}-of-00002.safetensors" for name in names}
    for shard in set(places.values()):
        write_weights(
            sharded / shard, {name: shapes()[name] for name in names if places[name] == shard}
        )
    index = {"metadata": {}, "weight_map": places}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    resolved = resolve(base, sharded)[1]
    assert resolved.size == sum((sharded / shard).stat().st_size for shard in set(places.values()))
    (sharded / places[names[0]]).unlink()
    assert places[names[0]] in fault(base, sharded).message


def damage(folder: Path, how: str) -> None:  # noqa: C901, PLR0912 - one damage after another
    weights = folder / "model.safetensors"
    content = json.loads((folder / "config.json").read_bytes())
    match how:
        case "no config":
            (folder / "config.json").unlink()
        case "config is no json":
            (folder / "config.json").write_text("{")
        case "config is deep":
            (folder / "config.json").write_text("[" * 100_000)
        case "adapter":
            (folder / "config.json").rename(folder / "adapter_config.json")
            weights.rename(folder / "adapter_model.safetensors")
        case "quantized":
            (folder / "config.json").write_text(json.dumps({**content, "quantization_config": {}}))
        case "no architecture":
            (folder / "config.json").write_text(json.dumps({**content, "architectures": None}))
        case "other architecture":
            (folder / "config.json").write_text(
                json.dumps({**content, "architectures": ["LlamaForCausalLM"]})
            )
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "no weights":
            weights.unlink()
        case "pickle":
            weights.rename(folder / "pytorch_model.bin")
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "empty":
            weights.write_bytes(b"")
        case "header":
            weights.write_bytes(b"\xff" * 100)
        case "vocab_size":
            (folder / "config.json").write_text(json.dumps({**content, "vocab_size": 9}))
        case "missing tensor":
            write_weights(weights, {k: v for k, v in shapes().items() if "norm" not in k})
        case "further tensor":
            write_weights(weights, {**shapes(), "score.weight": (2, 4)})
        case "other shape":
            write_weights(weights, {**shapes(), "model.norm.weight": (5,)})


DAMAGES = {
    "no config": "it has no config.json",
    "config is no json": "config.json cannot be read",
    "config is deep": "config.json cannot be read",
    "adapter": "its adapter_config.json names no peft_type",
    "quantized": "quantized",
    "no architecture": "names no architecture",
    "other architecture": "architecture is LlamaForCausalLM, the base model's is Mistral",
    "no tokenizer": "it has no tokenizer",
    "no weights": "no safetensors weights",
    "pickle": "its weights are pickled",
    "truncated": "truncated",
    "empty": "does not fit",
    "header": "does not fit",
    "vocab_size": "vocab_size 9",
    "missing tensor": "model.norm.weight is missing",
    "further tensor": "score.weight is not in the base model",
    "other shape": r"model.norm.weight is \[5\], the base's \[4\]",
}


@pytest.mark.parametrize(("how", "message"), DAMAGES.items())
def test_an_unfit_model_is_named_with_a_remedy(
    base: Path, tmp_path: Path, how: str, message: str
) -> None:
    bad = make(tmp_path / "models" / "bad", fill=1)
    damage(bad, how)
    error = fault(base, bad)
    assert error.message.startswith(f"bad ({bad}): ")
    assert error.remedy
    assert "\n" not in error.message
    with pytest.raises(PreflightError, match=message):
        raise error


def test_pickled_weights_are_converted_by_runs_on_request(base: Path, tmp_path: Path) -> None:
    bad = make(tmp_path / "bad", fill=1)
    damage(bad, "pickle")
    assert "allow_pickle: true" in (fault(base, bad).remedy or "")
    assert "only a run converts them" in fault(base, bad, allow_pickle=True).message


def test_all_faults_are_listed_at_once(base: Path, tmp_path: Path) -> None:
    bad = []
    for place, how in enumerate(DAMAGES):
        bad.append(make(tmp_path / "models" / f"bad{place}", fill=1))
        damage(bad[-1], how)
    error = fault(base, *bad)
    lines = error.message.splitlines()
    assert lines[0] == f"{len(DAMAGES)} models cannot be used:"
    for place in range(len(DAMAGES)):
        assert sum(line.startswith(f"bad{place} (") for line in lines) == 1


def test_a_broken_base_is_reported_beside_the_others(base: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "models" / "other", fill=1)
    damage(base, "no config")
    damage(other, "truncated")
    message = fault(base, other).message
    assert "base (" in message
    assert "other (" in message


def test_vocabularies_may_differ_and_outputs_be_tied(base: Path, tmp_path: Path) -> None:
    tied = {name: shape for name, shape in shapes(10).items() if name != "lm_head.weight"}
    old = {**tied, "model.layers.0.self_attn.rotary_emb.inv_freq": (2,)}
    other = make(tmp_path / "other", old, tie_word_embeddings=True)
    assert [m.foundation.vocabulary for m in resolve(base, other)] == [8, 10]
    assert [m.foundation.vocabulary for m in resolve(other, base)] == [10, 8]


def test_architectures_may_mix_on_request(base: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", fill=1)
    damage(other, "other architecture")
    assert len(resolve(base, other, allow_crimes=True)) == 2


def test_the_same_model_twice_is_refused(base: Path, tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", fill=1), make(tmp_path / "two", fill=1)
    assert "one and two are the same model" in fault(base, one, two).message
    assert len(resolve(one, base, two)) == 3


@pytest.mark.parametrize("text", ["./modles/base", "/nowhere/model", "modles/a/b", "~/nope/x"])
def test_a_path_that_does_not_exist(base: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base.parent.parent)
    error = fault(text, base)
    assert "there is no such folder" in error.message
    assert error.remedy
    if "modles" in text:
        assert error.remedy == "did you mean models?"


def test_a_file_is_no_model(base: Path) -> None:
    assert "it is a file" in fault(base, base / "config.json").message
