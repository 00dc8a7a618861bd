"""The guard on real models: what it measures, what it keeps out, and what it refuses."""

from __future__ import annotations

import math
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.adapters.lm_eval.backends import Placement, loaded_model
from evomerge.adapters.lm_eval.perplexity import LONGEST, GuardText, perplexity, read_text
from evomerge.adapters.lm_eval.tasks import DataSets, load_suites
from evomerge.config import EvaluationConfig
from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import PreflightError
from evomerge.domain.state import RunState, fold
from evomerge.store.faults import VARIABLE
from evomerge.store.journal import read_journal
from tests.conftest import command

TEXT = "abcdefghij 0123456789 " * 20
ROLLING = """\
task: plain
dataset_path: json
dataset_kwargs: {data_files: {test: plain.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list: [{metric: word_perplexity}]
"""
CONFIG = """\
run: {{name: guarded, dir: {dir}}}
base_model: {models}/base
foundation_models: [{models}/one, {models}/two]
strategy: {{name: seed_grid, grid: {{scales: [0.8, 4.0], densities: []}}}}
merge: {{method: task_arithmetic}}
evaluation:
  include: [{tasks}]
  tasks: [{{name: tiny_rotate, metric: acc, limit: 10}}]
  guard: {{text: {text}, worse_than: 1.3}}
  dtype: float32
stopping: [max_generations: 1]
execution: {{report: false}}
"""


@pytest.fixture(scope="module")
def models(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, nearly uniform over its vocabulary, and `one` and `two`, which add noise to it."""
    folder = tmp_path_factory.mktemp("models")
    names = sorted(load_file(tiny / "models" / "base" / "model.safetensors").items())
    draw = torch.Generator().manual_seed(0)

    def noise(tensor: torch.Tensor, size: float) -> torch.Tensor:
        return size * torch.randn(tensor.shape, generator=draw) * (tensor.ndim > 1)

    base = {name: noise(each, 0.02) + (each.ndim < 2) for name, each in names}
    for model in ("base", "one", "two"):
        shutil.copytree(tiny / "models" / "base", folder / model)
        own = {name: each + (model != "base") * noise(each, 0.04) for name, each in base.items()}
        save_file(own, folder / model / "model.safetensors", metadata={"format": "pt"})
    (folder / "plain.txt").write_text(TEXT, encoding="utf-8")
    return folder


def measured(model: Path, text: GuardText, batch_size: int = 4) -> dict[str, float]:
    config = EvaluationConfig.model_validate(
        {"tasks": ["any"], "dtype": "float32", "batch_size": batch_size}
    )
    with loaded_model(config, model, Placement("cpu")) as lm:
        return perplexity(lm, text)


def test_perplexity_is_that_of_the_model_s_own_probabilities(models: Path) -> None:
    text = "abcdefghij0123456789"
    tokenizer = AutoTokenizer.from_pretrained(models / "one")
    tokens = tokenizer.encode(text, add_special_tokens=False)
    model = AutoModelForCausalLM.from_pretrained(models / "one", dtype=torch.float32)
    given = torch.tensor([[tokenizer.eos_token_id, *tokens]])  # lm-eval's prefix token
    if tokenizer.bos_token_id is not None:
        given[0, 0] = tokenizer.bos_token_id
    with torch.no_grad():
        logits = model(given[:, :-1]).logits[0]
    loss = torch.nn.functional.cross_entropy(logits, given[0, 1:])
    found = measured(models / "one", GuardText.of(text))
    assert found == {"value": pytest.approx(math.exp(loss), rel=1e-5), "tokens": len(tokens)}


def test_perplexity_does_not_depend_on_the_batch_size(models: Path) -> None:
    text = GuardText.of("\n\n".join([TEXT] * 10))
    assert len(text.passages) == 3
    assert measured(models / "one", text, 1) == measured(models / "one", text, 16)


# --- runs ---------------------------------------------------------------------------------------


def config(folder: Path, models: Path, tiny: Path) -> Path:
    path = folder / "guarded.yaml"
    tasks, text = tiny / "tasks", models / "plain.txt"
    path.write_text(CONFIG.format(dir=folder / "runs", models=models, tasks=tasks, text=text))
    return path


def state_of(folder: Path) -> RunState:
    return fold(read_journal(folder / "runs" / "guarded" / "journal.jsonl").entries)


def test_a_child_that_a_huge_weight_breaks_is_kept_out_also_of_a_run_that_was_killed(
    models: Path, tiny: Path, tmp_path: Path, evomerge
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    done = evomerge("run", config(whole, models, tiny))
    assert done.returncode == 0, done.stderr
    state = state_of(whole)
    sane, broken = (state.models[f"model-1-{number}"] for number in (1, 2))
    assert sane.kept_out is None
    assert broken.kept_out is not None
    assert broken.kept_out in done.stderr
    assert "1 child kept out above" in done.stdout
    assert {model.name for model in state.pool} == {"one", "two", "model-1-1"}
    assert state.evaluations == 4
    point = {VARIABLE: "ledger.recorded:9:kill", **os.environ}
    stopped = evomerge("run", config(killed, models, tiny), env=point)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    assert not state_of(killed).finished
    resumed = evomerge("run", config(killed, models, tiny))
    assert resumed.returncode == 0, resumed.stderr
    assert decision_digest(state_of(killed)) == decision_digest(state)
    shown = command("show", "guarded", "model-1-2", "--dir", whole / "runs").out
    assert broken.kept_out in " ".join(shown.split())
    assert command("verify", "guarded", "--dir", whole / "runs").code == 0


# --- texts --------------------------------------------------------------------------------------


def guarded(text: str, *include: Path) -> EvaluationConfig:
    return EvaluationConfig.model_validate(
        {
            "tasks": [{"name": "tiny_rotate", "metric": "acc"}],
            "include": [*map(str, include)],
            "guard": text,
        }
    )


def problem(text: str, tiny: Path) -> str:
    """The one line about the text of a guard."""
    with pytest.raises(PreflightError) as raised:
        load_suites(guarded(text, tiny / "tasks"), DataSets({}))
    (line,) = raised.value.message.splitlines()
    return line


def test_a_text_that_is_missing_empty_or_no_text_is_told(tiny: Path, tmp_path: Path) -> None:
    missing, empty, binary = (tmp_path / name for name in ("no.txt", "empty.txt", "binary.txt"))
    empty.write_text(" \n\n ")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, why in (
        (missing, "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (empty, "there is no text in it"),
        (binary, "is not a text in UTF-8"),
    ):
        line = problem(str(path), tiny)
        assert line.startswith(f"evaluation.guard.text: {path}"), line
        assert why in line


def test_a_task_that_is_unknown_or_of_another_kind_is_told(tiny: Path) -> None:
    assert problem("tiny_sort", tiny) == (
        "evaluation.guard.text: task 'tiny_sort' is of the kind generate_until, expected "
        "loglikelihood_rolling"
    )
    assert problem("tiny_srot", tiny).startswith(
        "evaluation.guard.text: there is no task 'tiny_srot'; did you mean 'tiny_sort'"
    )


def test_the_texts_of_a_task_are_taken(tiny: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "plain.yaml").write_text(ROLLING)
    (tasks / "plain.jsonl").write_text('{"text": "One text."}\n{"text": "Another text."}\n')
    suites = load_suites(guarded("plain", tiny / "tasks", tasks), DataSets({}))
    assert suites["selection"].guard.passages == ("One text.\n\nAnother text.",)
    assert suites["held_out"].guard is None


def test_a_long_text_is_cut_and_told(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("A sentence of some words. " * 2000)
    text = read_text(path)
    assert text.cut
    assert max(map(len, text.passages)) <= 2000
    whole = " ".join(text.passages)
    assert LONGEST - 30 < len(whole) <= LONGEST
    assert whole == path.read_text()[: len(whole)]
    (warning,) = text.warnings
    assert warning.sentence == (
        "perplexity is measured on the first 16,000 characters of the guard's text"
    )


def test_the_packaged_text_is_short_plain_and_whole() -> None:
    from evomerge.adapters.lm_eval.perplexity import PACKAGED_TEXT

    text = read_text(PACKAGED_TEXT)
    assert not text.cut
    assert len(text.passages) == 3
    assert 700 < sum(len(passage.split()) for passage in text.passages) < 1100
