"""Foundation models and configs that cannot work: known before any work, and nothing is written.

Every case is a modified copy of a tiny real model, judged by the real command line; in this process
where nothing but the models differs from case to case.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import command

TENSOR = "model.layers.1.mlp.up_proj.weight"

CONFIG = """\
run: {{name: bad, dir: {dir}}}
base_model: {base}
foundation_models: [{models}]
merge: {{method: ties}}
evaluation:
  include: [{tasks}]
  split: none
  tasks: [{{name: tiny_reverse, metric: exact_match, limit: 4}}]
  dtype: float32
stopping: [max_generations: 1]
"""


def configured(model: Path, **changes: object) -> None:
    content = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**content, **changes}))


def weights(model: Path) -> Path:
    return model / "model.safetensors"


def header(model: Path) -> tuple[dict[str, object], bytes]:
    data = weights(model).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(model: Path, content: object, rest: bytes) -> None:
    text = json.dumps(content).encode()
    weights(model).write_bytes(struct.pack("<Q", len(text)) + text + rest)


def sharded(model: Path) -> None:
    tensors = load_file(weights(model))
    weights(model).unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2],
             "model-00002-of-00002.safetensors": names[1::2]}  # fmt: skip
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, model / file, {"format": "pt"})
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def indexed(model: Path, change: Callable[[dict[str, str]], None]) -> None:
    sharded(model)
    path = model / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def other_shard(index: dict[str, str]) -> str:
    return next(shard for shard in index.values() if shard != index[TENSOR])


def with_value(model: Path, value: float, tensor: str = TENSOR) -> None:
    tensors = load_file(weights(model))
    tensors[tensor] = tensors[tensor].copy()
    tensors[tensor][-1, -1] = value
    save_file(tensors, weights(model), {"format": "pt"})


def with_shape(model: Path) -> None:
    tensors = load_file(weights(model))
    tensors[TENSOR] = tensors[TENSOR][:-8].copy()
    save_file(tensors, weights(model), {"format": "pt"})


def without(model: Path, tensor: str = TENSOR) -> None:
    tensors = load_file(weights(model))
    del tensors[tensor]
    save_file(tensors, weights(model), {"format": "pt"})


def shorter(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 1000])


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (model / name).write_bytes(data)

    return change


def unlink(*names: str) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        for name in names:
            (model / name).unlink()

    return change


def pickled(model: Path) -> None:
    """Weights whose unpickling would run a command."""
    weights(model).unlink()
    (model / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")


def folder_of_weights(model: Path) -> None:
    weights(model).unlink()
    weights(model).mkdir()


def loop(model: Path) -> None:
    weights(model).unlink()
    weights(model).symlink_to("model.safetensors")


def no_adapter(model: Path) -> None:
    """What looks like an adapter, and is none of peft's."""
    (model / "config.json").rename(model / "adapter_config.json")
    (model / "model.safetensors").rename(model / "adapter_model.safetensors")


CASES: list[tuple[str, Callable[[Path], None], str]] = [
    ("no folder", shutil.rmtree, "there is no such folder"),
    ("a file", lambda m: (shutil.rmtree(m), m.write_text("x")), "it is a file"),
    ("an empty folder", lambda m: (shutil.rmtree(m), m.mkdir()), "has no config.json"),
    ("no config", unlink("config.json"), "has no config.json"),
    ("config: no JSON", write("config.json", "{"), "config.json cannot be read"),
    ("config: binary", write("config.json", bytes(range(256))), "config.json cannot be read"),
    ("config: empty", write("config.json", ""), "config.json cannot be read"),
    ("config: deep", write("config.json", "[" * 100_000), "config.json cannot be read"),
    ("config: a list", write("config.json", "[]"), "names no architecture"),
    ("config: null", write("config.json", "null"), "names no architecture"),
    ("config: no architecture", lambda m: configured(m, architectures=[]), "names no architecture"),
    ("config: odd architecture", lambda m: configured(m, architectures=[{"a": 1}]), "architecture"),
    ("config: text architecture", lambda m: configured(m, architectures="x"), "architecture"),
    ("config: odd vocabulary", lambda m: configured(m, vocab_size="67"), "vocab_size"),
    ("config: wrong vocabulary", lambda m: configured(m, vocab_size=99), "vocab_size 99"),
    ("config: negative vocabulary", lambda m: configured(m, vocab_size=-67), "vocab_size"),
    ("config: no model type", lambda m: configured(m, model_type=None), "model"),
    ("quantized", lambda m: configured(m, quantization_config={"bits": 4}), "quantized"),
    ("another architecture", lambda m: configured(m, architectures=["LlamaForCausalLM"]), "Llama"),
    ("an encoder", lambda m: configured(m, architectures=["BertModel"]), "BertModel"),
    ("other layers", lambda m: configured(m, num_hidden_layers=5), "num_hidden_layers"),
    ("other heads", lambda m: configured(m, num_attention_heads=8), "num_attention_heads"),
    ("other shapes", with_shape, TENSOR),
    ("a tensor is missing", without, TENSOR),
    ("pickled", pickled, "merge.options.allow_pickle"),
    ("no weights", unlink("model.safetensors"), "no safetensors weights"),
    ("weights: empty", write("model.safetensors", b""), "model.safetensors"),
    ("weights: text", write("model.safetensors", "no weights at all"), "model.safetensors"),
    ("weights: html", write("model.safetensors", "<!doctype html>" * 99), "model.safetensors"),
    (
        "weights: a git-lfs pointer",
        write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        "model.safetensors",
    ),
    ("weights: truncated", lambda m: shorter(weights(m)), "model.safetensors"),
    ("weights: a folder", folder_of_weights, "no safetensors weights"),
    ("weights: a link loop", loop, "no safetensors weights"),
    ("weights: no header", lambda m: with_header(m, [], b""), "model.safetensors"),
    (
        "weights: a huge header",
        lambda m: weights(m).write_bytes(b"\xff" * 8 + weights(m).read_bytes()[8:]),
        "model.safetensors",
    ),
    (
        "weights: offsets beyond the end",
        lambda m: with_header(m, header(m)[0], b"\0" * 100),
        "model.safetensors",
    ),
    (
        "a shard is truncated",
        lambda m: (sharded(m), shorter(m / "model-00002-of-00002.safetensors")),
        "model-00002-of-00002.safetensors",
    ),
    (
        "a shard is missing",
        lambda m: (sharded(m), (m / "model-00001-of-00002.safetensors").unlink()),
        "model-00001-of-00002.safetensors",
    ),
    (
        "the index names another shard",
        lambda m: indexed(m, lambda index: index.update({TENSOR: "nowhere.safetensors"})),
        "nowhere.safetensors",
    ),
    (
        "the index leaves the folder",
        lambda m: indexed(m, lambda index: index.update({TENSOR: "../base/model.safetensors"})),
        "../base/model.safetensors",
    ),
    (
        "the index names the wrong shard",
        lambda m: indexed(m, lambda index: index.update({TENSOR: other_shard(index)})),
        TENSOR,
    ),
    (
        "the index is no JSON",
        lambda m: (sharded(m), write("model.safetensors.index.json", "{")(m)),
        "model.safetensors.index.json",
    ),
    (
        "the index is a list",
        lambda m: (sharded(m), write("model.safetensors.index.json", "[]")(m)),
        "model.safetensors.index.json",
    ),
    ("NaN", lambda m: with_value(m, float("nan")), TENSOR),
    ("infinity", lambda m: with_value(m, float("inf")), TENSOR),
    ("minus infinity", lambda m: with_value(m, float("-inf"), "lm_head.weight"), "lm_head.weight"),
    ("no tokenizer", unlink("tokenizer.json"), "has no tokenizer"),
    ("no adapter", no_adapter, "no peft_type"),
]  # fmt: skip


@pytest.fixture
def models(tiny: Path, tmp_path: Path) -> Path:
    """Copies of the base and two specialists, to be modified."""
    folder = tmp_path / "models"
    for name in ("base", "reverse", "sort"):
        shutil.copytree(tiny / "models" / name, folder / name)
    return folder


@pytest.fixture
def bad_run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a config over these models; the stderr of its refusal, which wrote nothing."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def run(base: object, *models: object, code: int = 3) -> str:
        runs, names = tmp_path / "runs", ", ".join(map(str, models))
        config = tmp_path / "config.yaml"
        config.write_text(CONFIG.format(dir=runs, base=base, models=names, tasks=tiny / "tasks"))
        done = command("run", config)
        assert done.code == code, done.err
        assert "Traceback" not in done.err
        assert done.out == ""
        left = {path.relative_to(runs).as_posix() for path in runs.rglob("*")}
        # What reading gigabytes and the tasks told is remembered; it is no part of a run.
        left = {path for path in left if not path.startswith("store/cache")}
        assert left <= {"store", "store/digests.json"}, "nothing is written"
        assert not Path("pwned").exists()
        return done.err

    return run


@pytest.mark.parametrize(("what", "change", "told"), CASES, ids=[case[0] for case in CASES])
def test_an_unfit_model_is_refused_before_any_work(what, change, told, models, bad_run) -> None:
    change(models / "sort")
    lines = bad_run(models / "base", models / "reverse", models / "sort").splitlines()
    fault = next(i for i, line in enumerate(lines) if line.startswith("evomerge: "))
    where = f"{models.parent / 'config.yaml'}:3"
    assert lines[fault].startswith(f"evomerge: {where}: sort ({models / 'sort'}): ")
    assert told in lines[fault] + lines[-1]
    assert len(lines) - fault == 2, "one line says what, one what to do"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_base_that_is_not_finite_is_refused(value, models, bad_run) -> None:
    """It is never scored, and every merge over task vectors would fail."""
    with_value(models / "base", value)
    assert TENSOR in bad_run(models / "base", models / "reverse", models / "sort")


def test_everything_unfit_is_told_at_once(models, bad_run) -> None:
    pickled(models / "sort")
    (models / "reverse" / "tokenizer.json").unlink()
    told = bad_run(models / "base", models / "reverse", models / "sort", models / "nowhere")
    assert "3 models cannot be used" in told
    for name in ("sort", "reverse", "nowhere"):
        assert f"{name} ({models / name}): " in told


def test_a_base_of_another_family_is_refused(models, bad_run) -> None:
    configured(models / "base", architectures=["LlamaForCausalLM"], model_type="llama")
    told = bad_run(models / "base", models / "reverse", models / "sort")
    assert "its architecture is MistralForCausalLM, the base model's is LlamaForCausalLM" in told


def test_one_model_under_two_names_is_refused(models, bad_run) -> None:
    shutil.copytree(models / "sort", models / "twin")
    told = bad_run(models / "base", models / "sort", models / "twin")
    assert "sort and twin are the same model" in told


def test_one_path_under_two_names_is_refused(models, bad_run) -> None:
    (models / "twin").symlink_to("sort")
    told = bad_run(models / "base", models / "sort", models / "twin")
    assert "sort and twin are the same model" in told
    again = f"{{model: {models / 'sort'}, name: again}}"
    bad_run(models / "base", models / "sort", again, code=2)


def test_a_model_that_is_not_on_this_machine_is_refused(models, bad_run) -> None:
    told = bad_run(models / "base", models / "sort", "no-such-org/no-such-model")
    assert "no-such-org/no-such-model" in told


def test_tasks_that_cannot_be_used_are_known_before_the_first_merge(
    models, tiny, evomerge, tmp_path
) -> None:
    """Of every kind in tests/integration/test_lm_eval.py; here all in one run of the command."""
    names = [models / name for name in ("reverse", "sort")]
    text = CONFIG.format(
        dir=tmp_path / "runs", base=models / "base", models=", ".join(map(str, names)),
        tasks=tiny / "tasks",
    )  # fmt: skip
    unfit = (
        "tasks: [{name: tiny_sort, metric: exact_mach}, {name: tiny_revers, metric: exact_match}, "
        "{name: tiny_rotate, metric: acc, filter: no-such}]"
    )
    config = tmp_path / "config.yaml"
    config.write_text(re.sub("tasks: .*", unfit, text))
    done = evomerge("run", config, timeout=600)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    for told in ("did you mean 'tiny_reverse'", "exact_mach", "no-such"):
        assert told in done.stderr
    assert not (tmp_path / "runs" / "bad").exists()
