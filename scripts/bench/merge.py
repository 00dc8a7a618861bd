"""Profile of a merge, compared with copying the bytes that it writes.

Makes a base and two fine-tunes of it (Mistral-shaped, bfloat16, with a tokenizer) and merges them
as a run does, each case in a process of its own:

    python scripts/bench/merge.py [--small] [--parameters 0.25B] [--methods slerp,ties] ...

Columns, in CPU seconds of the whole process (more reliable than seconds on a busy machine): `all`,
and of it `plan`, `read` (a tensor is memory-mapped until it is used, so most reading counts as the
rule's), `rule` (the merge method), `write`, `check` (our check of every tensor), `rest` (tokenizer,
config, scheduling). Then what the store does with the result: `sha256`, `sync`. `import` is paid
once per run, since the child process is reused. `copy` is the time to copy the same bytes.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

METHODS = ("slerp", "linear", "ties", "dare_ties")
PARTS = ("plan", "read", "rule", "write", "check", "rest")
SHARD = "5B"


def cpu() -> float:
    """CPU seconds of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Clock:
    """CPU seconds and seconds by part; nested parts are not counted in the outer one."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.inner = [0.0]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the body as `name`."""
        start = cpu()
        self.inner.append(0.0)
        try:
            yield
        finally:
            spent = cpu() - start
            self.cpu[name] = self.cpu.get(name, 0.0) + spent - self.inner.pop()
            self.inner[-1] += spent

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Count every call of a function as `name`."""
        function: Callable[..., Any] = getattr(owner, attribute)

        @wraps(function)
        def watched(*arguments: Any, **options: Any) -> Any:
            with self.part(name):
                return function(*arguments, **options)

        setattr(owner, attribute, watched)


def watch_mergekit(clock: Clock) -> None:
    """Instrument mergekit and our hooks in it."""
    from mergekit import merge, plan
    from mergekit.graph import Task
    from mergekit.io import tasks

    from evomerge.adapters import mergekit_child

    clock.watch(plan.MergePlanner, "plan_to_disk", "plan")
    clock.watch(merge.Executor, "__init__", "plan")
    clock.watch(tasks.LazyTensorLoader, "get_tensor", "read")
    clock.watch(tasks.TensorWriter, "_write_shard_task", "write")
    clock.watch(mergekit_child, "_refuse_non_finite", "check")
    kinds, own = [Task], {tasks.SaveTensor, tasks.FinalizeModel, tasks.TensorWriterTask}
    for kind in kinds:
        kinds += kind.__subclasses__()
        module = kind.__module__
        if "execute" in vars(kind) and kind not in own and "merge_methods" in module:
            clock.watch(kind, "execute", "rule")


def _silent(done: int, total: int) -> None:
    del done, total


def merge_once(folder: Path, method: str, threads: int, shard_size: str) -> dict[str, float]:
    """Merge in this process, as the child of a run does, and store the result."""
    start, began = cpu(), time.perf_counter()
    from evomerge.adapters import mergekit_child
    from evomerge.config import MergeOptions
    from evomerge.domain.recipe import Ingredient, Recipe
    from evomerge.execution.operations import merge
    from evomerge.store.artefacts import manifest_of
    from evomerge.store.atomic import sync_tree

    found = {"import": cpu() - start, "import_s": time.perf_counter() - began}
    logging.disable(logging.ERROR)
    own: dict[str, float] = {} if method == "slerp" else {"weight": 0.5}
    if "ties" in method:
        own["density"] = 0.5
    recipe = Recipe(
        method=method,
        parents=tuple(Ingredient(model=name, parameters=own) for name in ("a", "b")),
        base="base" if "ties" in method else "a",
        parameters={"t": 0.5} if method == "slerp" else {},
        dtype="bfloat16",
        seed=1 if method == "dare_ties" else None,
        engine="mergekit",
    )
    options = MergeOptions(threads=threads, shard_size=shard_size)
    into = folder / "child"
    operation = merge(recipe, options, folder.__truediv__, into)
    clock = Clock()
    watch_mergekit(clock)
    began = time.perf_counter()
    with clock.part("rest"):
        mergekit_child.merge(operation, _silent)
    found |= {"s": time.perf_counter() - began, "all": sum(clock.cpu.values()), **clock.cpu}
    for name, work in (("sha256", manifest_of), ("sync", sync_tree)):
        start, began = cpu(), time.perf_counter()
        work(into)
        found |= {name: cpu() - start, f"{name}_s": time.perf_counter() - began}
    start, began = cpu(), time.perf_counter()
    shutil.copytree(into, folder / "copy")
    found |= {"copy": cpu() - start, "copy_s": time.perf_counter() - began}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(file.stat().st_size for file in into.rglob("*"))
    return found | {"peak": peak, "gb": size / 1e9}


def make_models(folder: Path, parameters: float) -> None:
    """Write `base`, `a`, `b`: one file each, and a tokenizer with a token per row."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models
    from transformers import MistralConfig, PreTrainedTokenizerFast

    hidden = max(64, int((parameters / 0.25e9) ** 0.4 * 1024) // 64 * 64)
    inner, vocabulary = int(3.5 * hidden), min(32_000, int(parameters / 8 / hidden))
    layers = max(1, round((parameters - 2 * vocabulary * hidden) / (13 * hidden**2)))
    config = MistralConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        vocab_size=vocabulary,
        tie_word_embeddings=False,
        dtype="bfloat16",
        architectures=["MistralForCausalLM"],
    )
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(vocabulary)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0")
    block: dict[str, tuple[int, ...]]
    block = {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}
    block |= {f"self_attn.{each}_proj": (hidden, hidden) for each in "qkvo"}
    block |= {f"mlp.{each}_proj": (inner, hidden) for each in ("gate", "up")}
    block |= {"mlp.down_proj": (hidden, inner)}
    shapes = {f"model.layers.{n}.{key}": s for n in range(layers) for key, s in block.items()}
    shapes |= {"model.embed_tokens": (vocabulary, hidden), "lm_head": (vocabulary, hidden)}
    shapes |= {"model.norm": (hidden,)}
    torch.manual_seed(0)
    base = {f"{key}.weight": 0.02 * torch.randn(shape) for key, shape in shapes.items()}
    for name in ("base", "a", "b"):
        step = 0.0 if name == "base" else 4e-4
        weights = {
            key: (weight + step * torch.randn_like(weight)).bfloat16()
            for key, weight in base.items()
        }
        (folder / name).mkdir()
        save_file(weights, folder / name / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def run_case(folder: Path, method: str, threads: int, shard_size: str) -> dict[str, float]:
    """`merge_once` in a fresh process; deletes its results."""
    command = [sys.executable, __file__, "--child", method, "--folder", str(folder)]
    command += ["--threads", str(threads), "--shard-sizes", shard_size]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    for name in ("child", "copy"):
        shutil.rmtree(folder / name)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(case: str, found: dict[str, float]) -> str:
    """One line of the table."""
    cells = [f"{found[name]:.1f}" for name in ("s", "all")]
    cells += [f"{found.get(name, 0.0):.1f}" for name in (*PARTS, "sha256", "sync", "import")]
    cells += [f"{found['copy']:.2f}", f"{found['all'] / found['copy']:.0f}"]
    cells += [f"{found['all'] / found['gb']:.1f}", f"{found['peak']:.0f}"]
    return f"| {case} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parameters", default="0.25B")
    parser.add_argument("--small", action="store_true", help="20M parameters: a minute")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--shard-sizes", default=f"{SHARD},100M")
    parser.add_argument("--dir", help="where to make the models (default: the temporary folder)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = arguments.shard_sizes.split(",")
    if arguments.child:
        threads = int(arguments.threads)
        print(json.dumps(merge_once(arguments.folder, arguments.child, threads, sizes[0])))
        return
    parameters = 2e7 if arguments.small else 1e9 * float(arguments.parameters.rstrip("B"))
    names = ["case", "s", "all", *PARTS, "sha256", "sync", "import", "copy", "× copy"]
    print(f"| {' | '.join([*names, 'CPU s per GB', 'peak MB'])} |")
    print("|" + " --- |" * (len(names) + 2), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as temporary:
        folder = Path(temporary)
        make_models(folder, parameters)
        for method in arguments.methods.split(","):
            for threads in arguments.threads.split(","):
                for size in sizes if threads == arguments.threads.split(",")[0] else sizes[:1]:
                    found = run_case(folder, method, int(threads), size)
                    print(row(f"{method}, {threads} threads, {size}", found), flush=True)


if __name__ == "__main__":
    main()
