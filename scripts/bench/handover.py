"""Potential savings of scoring a child from memory: how the weights of a new merge are loaded.

    python scripts/bench/handover.py [--parameters 250M] [--repeats 3]

A Mistral-shaped model of random bfloat16 weights is written as mergekit writes it, synced and
hashed as the store does it, and loaded by transformers: from files in the page cache, from files
that are not, and from tensors in memory, which needs merging and scoring in one process. The
difference of the first and the last is all that scoring from memory would save for each child; the
other costs of a child are printed beside it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from evomerge.store.artefacts import sha256
from evomerge.store.atomic import sync_tree

SEVEN_BILLION = 14.5e9
"""Bytes of a 7B model in bfloat16."""


def made(parameters: float, folder: Path) -> Path:
    """Write a model of approximately that many parameters; returns its weight file."""
    hidden = 1024
    layers = max(2, round(parameters / (2.5 * hidden**2 + 3 * hidden * 2816)))
    config = MistralConfig(
        hidden_size=hidden,
        intermediate_size=2816,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=4,
        vocab_size=8000,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    model = MistralForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return folder / "model.safetensors"


def timed(work: Callable[[], Any], repeats: int, before: Callable[[], Any] = int) -> float:
    """The median of the seconds of `work`, calling `before` each time."""
    seconds = []
    for _ in range(repeats):
        before()
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def uncached(file: Path) -> None:
    """Drop a file from the page cache."""
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", default="250M", help="such as 250M or 1B")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    arguments = parser.parse_args()
    number = arguments.parameters.upper().replace("M", "e6").replace("B", "e9")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        file = made(float(number), folder)
        tensors = {key: value.clone() for key, value in load_file(file).items()}
        config = MistralConfig.from_pretrained(folder)

        def load() -> None:
            AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16")

        def take() -> None:
            MistralForCausalLM.from_pretrained(
                None, config=config, state_dict=tensors, dtype="bfloat16"
            )

        load()
        take()
        figures = {
            "write": timed(lambda: save_file(tensors, folder / "again.safetensors"), 1),
            "sync": timed(lambda: sync_tree(folder), 1),
            "digest": timed(lambda: sha256(file), arguments.repeats),
            "load, just written": timed(load, arguments.repeats),
            "load, not in the page cache": timed(load, arguments.repeats, lambda: uncached(file)),
            "load, from memory": timed(take, arguments.repeats),
        }
        size = file.stat().st_size
    print(f"{size / 1e9:.2f} GB of bfloat16 weights; x{SEVEN_BILLION / size:.0f} is a 7B model\n")
    print("| step | seconds | of a 7B model |\n| --- | --- | --- |")
    for step, seconds in figures.items():
        print(f"| {step} | {seconds:.2f} | {seconds * SEVEN_BILLION / size:.0f} |")
    saved = figures["load, just written"] - figures["load, from memory"]
    print(f"\nfrom memory saves {saved:.2f} s a child, {saved * SEVEN_BILLION / size:.0f} s at 7B")


if __name__ == "__main__":
    main()
