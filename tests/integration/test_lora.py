"""LoRA adapters as foundation models: made by peft, merged by peft, evolved like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.adapters.foundation import Resolved, resolve_all
from evomerge.adapters.foundation.lora import changed_tensors
from evomerge.adapters.hub import Hub
from evomerge.adapters.peft import merge_adapter, merge_adapters, worker
from evomerge.cli import cli
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import DamagedError, PreflightError, StoppedError
from evomerge.domain.state import RunState, fold
from evomerge.execution.pool import Pool, no_progress
from evomerge.execution.resources import Resources
from evomerge.kinship.headers import read_header
from evomerge.store.artefacts import Store
from evomerge.store.journal import read_journal

ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "much": {
        "r": 2,
        "use_rslora": True,
        "use_dora": True,
        "rank_pattern": {"up_proj": 3},
        "alpha_pattern": {"up_proj": 16},
        "target_modules": ["o_proj", "up_proj"],
        "modules_to_save": ["lm_head"],
    },
    "embedding": {"r": 2, "target_modules": ["embed_tokens", "down_proj"]},
}


@pytest.fixture(scope="module")
def adapters(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Adapters as peft saves them, with the changes that a training would bring."""
    base, root = tiny / "models" / "base", tmp_path_factory.mktemp("adapters")
    for seed, (name, settings) in enumerate(ADAPTERS.items()):
        torch.manual_seed(seed)
        config = LoraConfig(task_type="CAUSAL_LM", **settings)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        for parameter in (each for each in model.parameters() if each.requires_grad):
            parameter.data += 0.05 * torch.randn_like(parameter)
        model.save_pretrained(root / name)
    for file in base.glob("tokenizer*"):
        shutil.copy(file, root / "plain")
    return {name: root / name for name in ADAPTERS}


@pytest.fixture(scope="module")
def merger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    merger = Pool([worker(tmp_path_factory.mktemp("logs") / "adapters.log")])
    yield merger
    merger.close()


def resolve(base: Path, *adapters: Path) -> tuple[Resolved, ...]:
    models = [ModelConfig(model=str(each)) for each in adapters]
    digests = adapters[0].parent / "digests.json"
    return resolve_all(ModelConfig(model=str(base)), models, MergeOptions(), digests, Hub())


def of_peft(base: Path, adapter: Path, dtype: torch.dtype) -> Mapping[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return {name: tensor.detach() for name, tensor in merged.state_dict().items()}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
def test_the_whole_model_is_that_of_peft(
    name: str, dtype: torch.dtype, tiny: Path, adapters: Mapping[str, Path],
    merger: Pool, tmp_path: Path,
) -> None:  # fmt: skip
    base = tmp_path / "base"
    shutil.copytree(tiny / "models" / "base", base)
    if dtype is torch.bfloat16:
        weights = load_file(base / "model.safetensors")
        half = {key: tensor.to(dtype) for key, tensor in weights.items()}
        save_file(half, base / "model.safetensors", {"format": "pt"})
    models = resolve(base, adapters[name])
    store = Store(tmp_path / "store")
    (tmp_path / "store").mkdir()
    seen: list[tuple[str, int, int, str]] = []
    room, options = Resources(store.root), MergeOptions()
    told = lambda name: lambda *done: seen.append((name, *done))  # noqa: E731
    merge_adapters(models, store, merger, room, told, options)
    made = store.path(f"models/{models[1].foundation.content_id}")
    assert seen[-1] == (name, 1, 1, ""), "all of it, on this machine"
    own, origin = load_file(made / "model.safetensors"), load_file(base / "model.safetensors")
    assert [*own] == [*origin]
    expected = of_peft(base, adapters[name], dtype)
    for key, tensor in own.items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, expected[key]), key
    changed = {key for key in own if not torch.equal(own[key], origin[key])}
    assert changed == {*changed_tensors(read_header(adapters[name] / "adapter_model.safetensors"))}
    assert (made / "config.json").read_bytes() == (base / "config.json").read_bytes()
    assert AutoTokenizer.from_pretrained(made)("1=").input_ids
    assert (made / "model.safetensors").stat().st_mode & 0o044

    idle = Pool([worker(tmp_path / "idle.log")])
    merge_adapters(models, store, idle, room, lambda _: no_progress, options)
    assert not (tmp_path / "idle.log").exists(), "no child was started"


def test_weights_that_peft_would_leave_out_are_an_error(
    tiny: Path, adapters: Mapping[str, Path], merger: Pool, tmp_path: Path
) -> None:
    wrong, options = tmp_path / "wrong", MergeOptions()
    shutil.copytree(adapters["plain"], wrong)
    settings = json.loads((wrong / "adapter_config.json").read_text())
    for modules, message in (
        (["q_proj"], "peft does not use"),
        (["q_proj", "v_proj", "k_proj"], "k_pro"),
    ):
        text = json.dumps({**settings, "target_modules": modules})
        (wrong / "adapter_config.json").write_text(text)
        base, model = resolve(tiny / "models" / "base", wrong)
        operation = merge_adapter(model, base, tmp_path / "into", options)
        with pytest.raises(PreflightError, match=message):
            merger.run(operation)
    (wrong / "adapter_config.json").write_text(json.dumps({**settings, "of_the_future": 1}))
    store = Store(tmp_path / "store")
    (tmp_path / "store").mkdir()
    room, full = Resources(store.root), Resources(store.root, 1 << 60)
    with pytest.raises(PreflightError, match=r"wrong: peft cannot use .*of_the_future") as caught:
        merge_adapters([base, model], store, merger, room, lambda _: no_progress, options)
    assert caught.value.remedy
    with pytest.raises(StoppedError, match="not enough disk"):
        merge_adapters([base, model], store, merger, full, lambda _: no_progress, options)


Evomerge = Callable[..., CompletedProcess[str]]


def command(*arguments: object) -> str:
    """What a command that needs no child prints."""
    done = CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def state_of(runs: Path, name: str) -> RunState:
    return fold(read_journal(runs / name / "journal.jsonl").entries)


def test_a_run_with_an_adapter(
    tiny: Path, adapters: Mapping[str, Path], evomerge: Evomerge, tmp_path: Path
) -> None:
    """Killed in the middle of the adapter's merge, resumed, verified, used by a second run."""
    models, runs = tiny / "models", tmp_path / "runs"
    config = tmp_path / "c.yaml"
    text = f"""
run: {{name: one, dir: {runs}}}
base_model: {models / "base"}
foundation_models: [{models / "sort"}, {models / "rotate"}, {adapters["plain"]}]
merge: {{method: task_arithmetic, parameters: {{weight: 1.0}}}}
evaluation:
  include: [{tiny / "tasks"}]
  tasks: [{{name: tiny_rotate, metric: acc, limit: 20}}]
  dtype: float32
stopping: [{{max_generations: 1}}]
execution: {{report: false}}
"""
    config.write_text(text)
    doctor = command("doctor", config, "--quick")
    assert "it is merged onto base once, into the store" in " ".join(doctor.split())
    plan = json.loads(command("plan", config, "--json"))
    assert (plan["adapters"], plan["adapted"]) == (1, plan["models"][0]["size"])

    killed = evomerge("run", config, env={"EVOMERGE_FAULT": "artefact.built:1:kill"})
    assert killed.returncode == -9
    assert [*(runs / "store" / "tmp").iterdir()]
    done = evomerge("run", config, "--json")
    assert done.returncode == 0, done.stderr
    state = state_of(runs, "one")
    assert state.finished
    assert not [*(runs / "store" / "tmp").iterdir()]
    lora = state.start.foundation[2]
    assert lora.adapter is not None
    assert state.start.versions["peft"] == lora.adapter.engine.split()[1]
    children = [model for model in state.models.values() if "plain" in model.parents]
    assert len(children) == 2
    assert all(model.score is not None for model in children)

    folder = runs / "store" / "models" / lora.content_id
    weights = folder / "model.safetensors"
    written = weights.stat().st_mtime_ns
    again = evomerge("run", config, "--set", "run.name=two", "--json")
    assert again.returncode == 0, again.stderr
    assert weights.stat().st_mtime_ns == written
    assert not (runs / "two" / "logs" / "adapters.log").exists()

    assert json.loads(command("gc", "--dir", runs, "--json"))["artefacts"] == []
    shown = json.loads(command("verify", "one", "--dir", runs, "--json"))
    assert f"plain: models/{lora.content_id}" in [each["name"] for each in shown["findings"]]
    kin = command("kinship", "one", "--dir", runs, "--json")
    assert "plain" in json.loads(kin)["models"]
    assert "merged onto base by peft" in command("show", "one", "plain", "--dir", runs)
    exported = tmp_path / "exported"
    name = children[0].name
    command("export", "one", name, "--to", exported, "--dir", runs)
    card = (exported / "README.md").read_text()
    assert "- plain, a LoRA adapter on the base model" in card
    assert "model: base+plain" in card
    assert str(tmp_path) not in card

    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DamagedError, match="its content has changed since it was written"):
        command("verify", "one", "--dir", runs)
