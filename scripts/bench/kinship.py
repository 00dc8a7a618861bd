"""Speed, memory and accuracy of kinship, compared with a plain read and the public tool.

Makes a base and correlated fine-tunes of it (Mistral-shaped, bfloat16, sharded), then measures
every variant in a process of its own, with the weights in the page cache:

    python scripts/bench/kinship.py [--parameters 0.25B,0.6B] [--models 2,6] [--small] ...

`bare` reads the same bytes with two threads into small buffers. `public` repeats the operations of
`merge_cal` (github.com/zjunlp/ModelKinship): three models in float32, flattened and concatenated
deltas, one process for every pair; one pair is run, and all pairs of N models are assumed to take
N (N - 1) / 2 times as long. `s`, and the ratios, exclude imports; `process` is the whole process
(of the public tool: of all its processes). On a busy machine CPU seconds are more reliable than
seconds. `peak` is the memory above that after the imports. Errors are against float64 in numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Peak memory of the public tool in bytes per parameter: states, deltas, their stack, a copy.
PUBLIC_BYTES = {"pcc": 36, "ed": 24}
SHARDS = 3


def shapes(parameters: float) -> dict[str, tuple[int, ...]]:
    """The tensors of a Mistral model of approximately that many parameters, by name."""
    hidden = max(64, int((parameters / 0.25e9) ** 0.4 * 1024) // 64 * 64)
    inner, vocabulary = int(3.5 * hidden), min(32_000, int(parameters / 8 / hidden))
    layer = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden // 4, hidden),
        "self_attn.v_proj": (hidden // 4, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    size = sum(int(np.prod(shape)) for shape in layer.values())
    layers = max(1, round((parameters - 2 * vocabulary * hidden) / size))
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for index in range(layers):
        found |= {f"model.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    return found | {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def make_family(folder: Path, parameters: float, models: int) -> int:
    """Write `base`, `m0`, `m1`, .. and return the parameters of each.

    Deltas are 1 to 4 % of the weights and correlated. Noise is cut from one long row: drawing all
    of it would take longer than everything that is measured.
    """
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(1 << 22, generator=generator)
    wanted = list(shapes(parameters).items())
    longest = max(int(np.prod(shape)) for _, shape in wanted)
    ring = pool.repeat(2 + longest // len(pool))

    def noise(count: int) -> torch.Tensor:
        start = int(torch.randint(0, len(pool), (1,), generator=generator))
        return ring[start : start + count]

    names = ["base", *(f"m{index}" for index in range(models))]
    places: dict[str, str] = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = wanted[shard * len(wanted) // SHARDS : (shard + 1) * len(wanted) // SHARDS]
        weights: dict[str, dict[str, torch.Tensor]] = {name: {} for name in names}
        for name, shape in part:
            count = int(np.prod(shape))
            base = (0.02 * noise(count)).bfloat16()
            common = noise(count)
            weights["base"][name] = base.view(shape)
            for index in range(models):
                step = 0.02 * (0.01 + 0.03 * index / models)
                delta = step * (0.8 * common + 0.6 * noise(count))
                weights[f"m{index}"][name] = (base.float() + delta).bfloat16().view(shape)
            places[name] = file
        for model in names:
            (folder / model).mkdir(parents=True, exist_ok=True)
            save_file(weights[model], folder / model / file, metadata={"format": "pt"})
    for model in names:
        index_file = folder / model / "model.safetensors.index.json"
        index_file.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return sum(int(np.prod(shape)) for _, shape in wanted)


def bare_read(files: Sequence[Path]) -> None:
    """Read all bytes with two threads, each into one small buffer."""

    def read(part: Sequence[Path]) -> None:
        buffer = memoryview(bytearray(1 << 18))
        for path in part:
            file, position = os.open(path, os.O_RDONLY), 0
            while got := os.preadv(file, [buffer], position):
                position += got
            os.close(file)

    threads = [threading.Thread(target=read, args=(files[first::2],)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def public_tool(folder: Path, metric: str) -> float:
    """The operations of `merge_cal m0 m1 base METRIC` after its models are located."""
    import torch
    import transformers  # noqa: F401  part of the cost of each of its processes
    from safetensors.torch import load_file

    def load(model: str) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = {}
        for file in sorted((folder / model).glob("*.safetensors")):
            state |= {name: weight.to(torch.float32) for name, weight in load_file(file).items()}
        return state

    first, second, base = load("m0"), load("m1"), load("base")
    rows = len(base["lm_head.weight"])
    one, other = [], []
    for name, weight in base.items():
        one.append((first[name][:rows] - weight).view(-1))
        other.append((second[name][:rows] - weight).view(-1))
    del first, second, base
    joined, joined_other = torch.cat(one), torch.cat(other)
    if metric == "ed":
        return float(torch.dist(joined, joined_other))
    return float(torch.corrcoef(torch.stack((joined, joined_other), dim=0))[0, 1])


def reference(folder: Path, models: int) -> npt.NDArray[np.float64]:
    """The Gram matrix over [1, deltas] in float64, by numpy from the bytes of bfloat16."""
    from evomerge.kinship.headers import read_folder

    names = ["base", *(f"m{index}" for index in range(models))]
    stored = {name: read_folder(folder / name) for name in names}
    gram = np.zeros((1 + models, 1 + models))
    for tensor, first in stored["base"].items():
        count = first.size // first.item_size
        rows = np.ones((2 + models, min(1 << 20, count)))  # base, 1, deltas
        for start in range(0, count, rows.shape[1]):
            stop = min(start + rows.shape[1], count)
            for index, name in zip([0, *range(2, 2 + models)], names, strict=True):
                one = stored[name][tensor]
                raw = np.fromfile(one.file, np.uint16, stop - start, offset=one.offset + 2 * start)
                rows[index, : stop - start] = (raw.astype(np.uint32) << 16).view(np.float32)
            rows[2:, : stop - start] -= rows[0, : stop - start]
            gram += rows[1:, : stop - start] @ rows[1:, : stop - start].T
    return gram


def peak() -> float:
    """The peak memory of this process, in MB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return float(text.split("VmHWM:")[1].split()[0]) / 1024


def child(way: str, folder: Path, models: int, repeats: int) -> dict[str, Any]:
    """Measure one variant in this process: minimum of seconds and CPU seconds, peak, values."""
    names = [f"m{index}" for index in range(models)]
    figures: dict[str, Any] = {}
    work: Callable[[], object]
    if way == "bare":
        files = [file for name in ("base", *names) for file in (folder / name).glob("*.saf*")]
        work = lambda: bare_read(sorted(files))  # noqa: E731
    elif way.startswith("public"):
        work = lambda: figures.update(value=public_tool(folder, way.split()[1]))  # noqa: E731
    else:
        work = _ours(folder, names, figures)
    before, times = peak(), []
    for _ in range(repeats):
        start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        work()
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        times.append((time.perf_counter() - start, cpu))
    seconds, cpus = zip(*times, strict=True)
    return {"s": min(seconds), "cpu": min(cpus), "peak": peak() - before, **figures}


def _ours(folder: Path, names: Sequence[str], figures: dict[str, Any]) -> Callable[[], object]:
    """A pass, after all imports."""
    import torch

    from evomerge.kinship.statistics import Statistics
    from evomerge.kinship.stream import measure

    torch.bmm(torch.ones(2, 8, 1024), torch.ones(2, 1024, 8))

    def work() -> None:
        paths = {name: folder / name for name in names}
        measured = measure(folder / "base", paths, base_id="base")
        figures["gram"] = Statistics.merge([measured], names).total.tolist()

    return work


def run_child(way: str, folder: Path, models: int, repeats: int) -> dict[str, Any]:
    """`child` in a fresh process; `process` is its total time if run once."""
    command = [sys.executable, __file__, "--child", way, "--folder", str(folder)]
    command += ["--models", str(models), "--repeats", str(repeats)]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"process": time.perf_counter() - start - (repeats - 1) * found["s"]}


def errors(gram: npt.NDArray[np.float64], exact: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The largest error of a pcc, and the largest relative error of a euclidean distance."""
    from evomerge.kinship.metrics import similarity

    pairs = np.triu_indices(len(gram) - 1, 1)
    pcc, right = (similarity("pcc", each)[pairs] for each in (gram, exact))
    apart, distance = (similarity("euclidean", each)[pairs] for each in (gram, exact))
    return float(np.abs(pcc - right).max()), float(np.abs(apart / distance - 1).max())


def public_rows(
    folder: Path, count: int, available: float, exact: npt.NDArray[np.float64]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(metric, measurements) of the public tool, one pair each, if memory allows."""
    from evomerge.kinship.metrics import similarity

    for metric, name in (("pcc", "pcc"), ("ed", "euclidean")):
        needed = PUBLIC_BYTES[metric] * count
        if needed > available:
            say(f"public {metric} not run: it takes some {needed / 1e9:.0f} GB")
            continue
        found = run_child(f"public {metric}", folder, 2, 1)
        right = float(similarity(name, exact)[0, 1])
        found["error"] = abs(found["value"] - right) / (right if metric == "ed" else 1)
        yield metric, found


def public_cells(metric: str, one: dict[str, Any], pairs: int, bare: float) -> str:
    """The row for `pairs` runs of the public tool, of which one was measured."""
    seconds = pairs * one["s"]
    error = f"{one['error']:.0e}"
    said = f"public {metric}" + (f", {pairs} × one measured run" if pairs > 1 else "")
    cells = [said, f"{seconds:.1f}", f"{pairs * one['cpu']:.1f}", f"{seconds / bare:.0f}", "1",
             f"{pairs * one['process']:.1f}", f"{one['peak']:.0f}"]  # fmt: skip
    return " | ".join(cells + ([error, "–"] if metric == "pcc" else ["–", error]))


def memory() -> float:
    """Bytes available to a new process, with a margin."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return 0.9 * 1024 * float(text.split("MemAvailable:")[1].split()[0])


def say(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def study(parameters: float, numbers: Sequence[int], repeats: int, arguments: Any) -> None:
    """Measure one size: all variants over the same files, as rows of the table."""
    with tempfile.TemporaryDirectory(dir=arguments.dir) as temporary:
        folder = Path(temporary)
        start = time.perf_counter()
        count = make_family(folder, parameters, max(numbers))
        say(f"{count / 1e6:.0f}M parameters, made in {time.perf_counter() - start:.0f} s")
        exact = reference(folder, max(numbers))
        public = dict(public_rows(folder, count, memory(), exact)) if arguments.public else {}
        for number in numbers:
            size = f"| {count / 1e9:.2f}B | {number} |"
            bare = run_child("bare", folder, number, repeats + 2)
            print(
                f"{size} bare read | {bare['s']:.2f} | {bare['cpu']:.2f} | 1 | – | – | – | – | – |"
            )
            pairs = number * (number - 1) // 2
            for metric, one in public.items():
                print(f"{size} {public_cells(metric, one, pairs, bare['s'])} |")
            places = range(1 + number)
            found = run_child("ours", folder, number, repeats)
            gram, right = np.array(found["gram"]), exact[np.ix_(places, places)]
            against = public.get("pcc") or public.get("ed")
            faster = f"{pairs * against['s'] / found['s']:.0f}" if against else "–"
            cells = [f"{found['s']:.2f}", f"{found['cpu']:.2f}",
                     f"{found['s'] / bare['s']:.1f} ({found['cpu'] / bare['cpu']:.1f})", faster,
                     f"{found['process']:.1f}", f"{found['peak']:.0f}"]  # fmt: skip
            cells += [f"{each:.0e}" for each in errors(gram, right)]
            print(f"{size} evomerge | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the table as Markdown; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parameters", default="0.25B,0.6B")
    parser.add_argument("--models", default="2,6")
    parser.add_argument("--small", action="store_true", help="20M parameters: half a minute")
    parser.add_argument("--repeats", type=int, default=5, help="the fastest is reported")
    parser.add_argument("--no-public", dest="public", action="store_false")
    parser.add_argument("--dir", help="where to make the models (default: the temporary folder)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        found = child(arguments.child, arguments.folder, int(arguments.models), arguments.repeats)
        print(json.dumps(found))
        return
    sizes = (
        [0.02]
        if arguments.small
        else [float(s.rstrip("B")) for s in arguments.parameters.split(",")]
    )
    print("| parameters | N | | s | CPU s | × bare read (CPU) | × faster than public | process s "
          "| peak MB | error pcc | error euclidean |")  # fmt: skip
    print("|" + " --- |" * 11)
    for size in sizes:
        study(
            size * 1e9, [int(n) for n in arguments.models.split(",")], arguments.repeats, arguments
        )


if __name__ == "__main__":
    main()
