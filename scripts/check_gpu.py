"""Check a GPU: merges, scores and kinship on it beside the CPU's, and what a 1B model takes.

    python scripts/check_gpu.py [--device cuda:0] [--parameters 1B] [--dir FOLDER]

Needs an installed evomerge and nothing else: models and tasks are made on the spot, nothing is
downloaded. Takes below 6 minutes on one card; `--device cpu` runs the same on the CPU (then every
difference is 0, and a smaller `--parameters` is advisable). Prints one Markdown table to paste into
an issue; exits with 1 if a line of it says FAILED.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Read when the libraries are imported.
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import torch

METHODS = ("slerp", "linear", "task_arithmetic", "ties", "dare_ties")
ITEMS = 64
KINSHIP_TOLERANCE = 1e-6
"""The largest error of pcc and cosine against float64, as the README states it for the CPU."""


class Table:
    """Rows of (check, outcome, seconds and memory), printed as they come."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.failed = False

    def head(self) -> None:
        """Print the machine and the head of the table."""
        card = self.device
        if self.device.startswith("cuda"):
            found = torch.cuda.get_device_properties(self.device)
            card = f"{found.name}, {found.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
        names = ("evomerge", "mergekit", "lm_eval", "torch", "transformers")
        print(
            f"{card}; {platform.machine()}, {os.cpu_count()} cores; Python {sys.version.split()[0]}"
        )
        print(", ".join(f"{name} {version(name)}" for name in names) + "\n")
        print("| check | outcome | cost |\n| --- | --- | --- |", flush=True)

    @contextmanager
    def row(self, check: str) -> Iterator[list[str]]:
        """A line of the table; what is put into the list is its outcome."""
        outcome: list[str] = []
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
        began = time.perf_counter()
        try:
            yield outcome
        except Exception as error:
            self.failed = True
            outcome.append(f"FAILED: {' '.join(str(error).split())[:200]}")
            traceback.print_exc()
        cost = f"{time.perf_counter() - began:.1f} s"
        if self.device.startswith("cuda"):
            cost += f", {torch.cuda.max_memory_allocated(self.device) / 1e9:.2f} GB"
        print(f"| {check} | {'; '.join(outcome)} | {cost} |", flush=True)


def expect(holds: bool, text: str) -> None:
    """Let the row fail if something does not hold."""
    if not holds:
        raise AssertionError(text)


def make_models(folder: Path, parameters: float, vocabulary: int) -> None:
    """Write `base`, `a` and `b`, Mistral-shaped in bfloat16, and a tokenizer of digits."""
    from safetensors.torch import save_file
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import MistralConfig, PreTrainedTokenizerFast

    hidden = max(128, int((parameters / 0.25e9) ** 0.4 * 1024) // 128 * 128)
    inner = int(3.5 * hidden)
    layers = max(2, round((parameters - 2 * vocabulary * hidden) / (12.5 * hidden**2)))
    config = MistralConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 128,
        head_dim=64,
        vocab_size=vocabulary,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        dtype="bfloat16",
        architectures=["MistralForCausalLM"],
    )
    words = ["<pad>", "<s>", "</s>", *"0123456789+= "]
    words += [f"<{number}>" for number in range(len(words), vocabulary)]
    model = models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<pad>")
    tokens = Tokenizer(model)
    tokens.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokens.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    half = hidden // 2
    block: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (half, hidden),
        "self_attn.v_proj": (half, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes = {f"model.layers.{n}.{key}": s for n in range(layers) for key, s in block.items()}
    shapes |= {"model.embed_tokens": (vocabulary, hidden), "lm_head": (vocabulary, hidden)}
    shapes |= {"model.norm": (hidden,)}
    torch.manual_seed(0)
    base = {}
    for key, shape in shapes.items():
        base[f"{key}.weight"] = torch.ones(shape) if "norm" in key else 0.05 * torch.randn(shape)
    for name in ("base", "a", "b"):
        step = 0.0 if name == "base" else 1e-3
        weights = {
            key: (weight + step * torch.randn_like(weight)).bfloat16()
            for key, weight in base.items()
        }
        (folder / name).mkdir(parents=True)
        save_file(weights, folder / name / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def make_task(folder: Path) -> None:
    """Write a task of generated answers and one of multiple choice."""
    folder.mkdir()
    rows = []
    for number in range(ITEMS):
        a, b = 7 * number % 90 + 10, 11 * number % 90 + 10
        choices = [str(a + b), str(a + b + 10)]
        rows.append({"prompt": f"{a}+{b}=", "answer": str(a + b), "choices": choices, "gold": 0})
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = f"dataset_path: json\ndataset_kwargs:\n  data_files: {folder}/items.jsonl\n"
    common += "test_split: train\ntarget_delimiter: ''\ndoc_to_text: prompt\n"
    (folder / "sums.yaml").write_text(
        f"task: gpu_sums\n{common}output_type: generate_until\ndoc_to_target: answer\n"
        "generation_kwargs: {until: ['</s>'], max_gen_toks: 8, do_sample: false}\n"
        "metric_list:\n  - metric: exact_match\n    aggregation: mean\n    higher_is_better: true\n"
    )
    (folder / "choice.yaml").write_text(
        f"task: gpu_choice\n{common}output_type: multiple_choice\ndoc_to_choice: choices\n"
        "doc_to_target: gold\n"
        "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )


def silent(done: int, total: int) -> None:
    """No-op progress."""
    del done, total


def merge(folder: Path, method: str, device: str, name: str) -> Path:
    """Merge `a` and `b` of a folder on a device, as the child process of a run does."""
    from evomerge.adapters import mergekit_child
    from evomerge.config import MergeOptions
    from evomerge.domain.recipe import Ingredient, Recipe
    from evomerge.execution import operations

    delta = method in {"task_arithmetic", "ties", "dare_ties"}
    own: dict[str, float] = {} if method == "slerp" else {"weight": 0.5}
    if "ties" in method:
        own["density"] = 0.5
    recipe = Recipe(
        method=method,
        parents=tuple(Ingredient(model=each, parameters=own) for each in ("a", "b")),
        base="base" if delta else "a",
        parameters={"t": 0.5} if method == "slerp" else {},
        dtype="bfloat16",
        seed=1 if method == "dare_ties" else None,
        engine="mergekit",
    )
    options = MergeOptions(device=device)
    into = folder / name
    into.mkdir()
    mergekit_child.merge(operations.merge(recipe, options, folder.__truediv__, into), silent)
    return into


def score(model: Path, tasks: Path, device: str, dtype: str, log: Path) -> dict[str, Any]:
    """The scores of a model on a device, and the answer to every item."""
    from evomerge.adapters.lm_eval import child
    from evomerge.config import EvaluationConfig, MergeOptions
    from evomerge.execution import operations

    evaluation = EvaluationConfig.model_validate(
        {
            "tasks": [
                {"name": "gpu_sums", "metric": "exact_match"},
                {"name": "gpu_choice", "metric": "acc"},
            ],
            "include": [str(tasks)],
            "dtype": dtype,
            "batch_size": 16,
            "split": "none",
        }
    )
    log.mkdir()
    operation = operations.score(evaluation, MergeOptions(), "selection", model, log)
    found = child.operations(device)["score"](operation, silent)
    items: dict[str, Any] = {each["task"]: each["value"] for each in found["tasks"]}
    for file in sorted(log.glob("samples_*.jsonl")):
        items[file.name] = [json.loads(line)["responses"] for line in file.read_text().splitlines()]
    return items


def different_items(first: dict[str, Any], second: dict[str, Any]) -> tuple[int, int, float]:
    """Texts and choices that differ, of how many, and the largest difference in nats."""
    differ, count, largest = 0, 0, 0.0
    for name, answers in first.items():
        if not name.startswith("samples_"):
            continue
        for one, other in zip(answers, second[name], strict=True):
            count += 1
            if "choice" not in name:
                differ += one != other
                continue
            nats = [[float(each[0][0]) for each in answer] for answer in (one, other)]
            differ += nats[0].index(max(nats[0])) != nats[1].index(max(nats[1]))
            largest = max(largest, *(abs(a - b) for a, b in zip(*nats, strict=True)))
    return differ, count, largest


def check_merges(table: Table, folder: Path, device: str) -> None:
    """Merge by every method on both devices and compare the bits."""
    from safetensors.torch import load_file

    for method in METHODS:
        with table.row(f"merge {method}, bf16, {device} against cpu") as outcome:
            on_cpu = load_file(merge(folder, method, "cpu", f"{method}-cpu") / "model.safetensors")
            there = merge(folder, method, device, f"{method}-device") / "model.safetensors"
            on_device = load_file(there)
            expect(on_cpu.keys() == on_device.keys(), "other tensors")
            total = sum(each.numel() for each in on_cpu.values())
            differ = sum(int((on_cpu[name] != on_device[name]).sum()) for name in on_cpu)
            largest = max(
                float((on_cpu[name].double() - on_device[name].double()).abs().max())
                for name in on_cpu
            )
            if not differ:
                outcome.append(f"equal to the bit ({total:,} weights)")
                continue
            outcome.append(f"{differ:,} of {total:,} weights differ, by {largest:.1e} at most")
            if method != "dare_ties":  # it drops by the device's own random numbers
                expect(largest < 0.01, f"by {largest:.1e}")


def check_scores(table: Table, folder: Path, tasks: Path, device: str) -> None:
    """Score the same model on both devices, in float32 and bfloat16."""
    for dtype in ("float32", "bfloat16"):
        with table.row(f"hf scores, {dtype}, {device} against cpu") as outcome:
            on_cpu = score(folder / "a", tasks, "cpu", dtype, folder / f"cpu-{dtype}")
            there = score(folder / "a", tasks, device, dtype, folder / f"device-{dtype}")
            again = score(folder / "a", tasks, device, dtype, folder / f"again-{dtype}")
            expect(there == again, "the same model scored twice gives different answers")
            differ, count, nats = different_items(on_cpu, there)
            outcome.append(f"{differ} of {count} answers differ, log-likelihoods by {nats:.1e}")
            outcome.append("the same again to the bit")


def check_kinship(table: Table, folder: Path, device: str) -> None:
    """Measure kinship on the device and compare it with float64 in numpy."""
    import numpy as np
    from safetensors.torch import load_file

    from evomerge.kinship.statistics import Statistics
    from evomerge.kinship.stream import measure

    with table.row(f"kinship on {device} against float64") as outcome:
        models = {name: folder / name for name in ("a", "b")}
        found = measure(folder / "base", models, base_id="base", device=device)
        weights = {
            name: load_file(folder / name / "model.safetensors") for name in ("base", "a", "b")
        }
        deltas = [
            np.concatenate(
                [
                    (weights[name][key].double() - weights["base"][key].double()).numpy().ravel()
                    for key in sorted(weights["base"])
                ]
            )
            for name in ("a", "b")
        ]
        exact = {
            "pcc": float(np.corrcoef(*deltas)[0, 1]),
            "cosine": float(
                deltas[0] @ deltas[1] / np.linalg.norm(deltas[0]) / np.linalg.norm(deltas[1])
            ),
        }
        statistics = Statistics.merge([found])
        for metric, value in exact.items():
            measured = statistics.pair(metric, "a", "b")
            expect(measured is not None, f"{metric} is undefined")
            error = abs((measured or 0.0) - value)
            outcome.append(f"{metric} error {error:.0e}")
            expect(error < KINSHIP_TOLERANCE, f"{metric} error {error:.1e}")


def check_size(table: Table, folder: Path, tasks: Path, device: str, label: str) -> None:
    """Merge, score and measure models of a real size, and look for what stays in memory."""
    with table.row(f"{label}: made (base, 2 fine-tunes, bf16)") as outcome:
        make_models(folder, size_of(label), 32_000)
        written = (folder / "a" / "model.safetensors").stat().st_size
        outcome.append(f"{written / 1e9:.2f} GB each")
    for method in ("slerp", "ties"):
        with table.row(f"{label}: merge {method} on {device}") as outcome:
            merge(folder, method, device, method)
            outcome.append("written and checked")
    for number, method in enumerate(("slerp", "ties"), 1):
        with table.row(f"{label}: score child {number} on {device}, {2 * ITEMS} items") as outcome:
            score(folder / method, tasks, device, "bfloat16", folder / f"score-{number}")
            gc.collect()
            if device.startswith("cuda"):
                left = torch.cuda.memory_allocated(device)
                outcome.append(f"{left / 1e6:.0f} MB left after it")
                expect(left < 64e6, f"{left / 1e9:.2f} GB are left after scoring")
            else:
                outcome.append("scored")
    with table.row(f"{label}: kinship of 2 models on {device}") as outcome:
        from evomerge.kinship.stream import measure

        models = {name: folder / name for name in ("a", "b")}
        measure(folder / "base", models, base_id="base", device=device)
        outcome.append("measured")


def size_of(text: str) -> float:
    """1B, 350M as a number."""
    return float(text.upper().replace("B", "e9").replace("M", "e6"))


def main() -> int:
    """Print the table; 1 if a check failed."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--device", default="cuda:0", help="as torch names it; cpu for a rehearsal")
    parser.add_argument("--parameters", default="1B", help="of the large models, as 1B or 350M")
    parser.add_argument("--dir", type=Path, help="where to write about 12 bytes a parameter")
    arguments = parser.parse_args()
    device: str = arguments.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; --device cpu rehearses the script")
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    logging.disable(logging.ERROR)
    table = Table(device)
    table.head()
    with tempfile.TemporaryDirectory(prefix="evomerge-gpu-", dir=arguments.dir) as name:
        small, tasks = Path(name) / "small", Path(name) / "tasks"
        make_models(small, 5e6, 512)
        make_task(tasks)
        check_merges(table, small, device)
        check_scores(table, small, tasks, device)
        check_kinship(table, small, device)
        check_size(table, Path(name) / "large", tasks, device, arguments.parameters)
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
