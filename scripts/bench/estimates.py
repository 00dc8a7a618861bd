"""Coverage of the intervals of estimated kinship, on real mergekit output.

Makes a base and fine-tunes of it (Mistral-shaped, random, with correlated deltas of --deltas of the
weights), breeds three generations of offspring with mergekit, and compares the estimates from
stored weight samples with measurements over all weights, for every pair.

    python scripts/bench/estimates.py [--small] [--parameters 50M] [--methods slerp,ties] ...
    python scripts/bench/estimates.py --models BASE MODEL MODEL ...

Columns: root mean square and largest error of a pcc, the median half width of its interval, and the
share of all pairs (pcc, cosine, euclidean) whose exact value lies in the interval; seconds for the
samples of all models, the estimates, and the exact pass. With --models: of existing folders.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from evomerge.adapters import mergekit_child
from evomerge.config import MergeOptions
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.execution.operations import merge
from evomerge.kinship.estimates import estimates
from evomerge.kinship.sample import take_sample
from evomerge.kinship.statistics import Statistics
from evomerge.kinship.stream import measure

T_OF_THE_PAPER = [
    {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
    {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]},
    {"value": 0.5},
]
METHODS = ("slerp", "linear", "task_arithmetic", "ties", "dare_ties", "della")
LINEAR = METHODS[:3]
DRAWN = METHODS[4:]


@dataclass(frozen=True)
class Shape:
    """The size of a model; `layers` is chosen to match the number of parameters."""

    hidden: int = 128
    inner: int = 352
    vocabulary: int = 512
    layers: int = 4

    @classmethod
    def of(cls, parameters: float) -> Shape:
        """The size of a model of approximately that many parameters."""
        hidden = int(128 * max(1.0, (parameters / 1e6) ** 0.4) // 64 * 64)
        layer = 2.5 * hidden**2 + 3 * hidden * 2.75 * hidden
        vocabulary = min(32000, int(parameters / 8 / hidden) // 64 * 64)
        layers = max(2, round((parameters - 2 * vocabulary * hidden) / layer))
        return cls(hidden, int(2.75 * hidden), vocabulary, layers)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The tensors of a Mistral model of this size, by name."""
        hidden, inner = self.hidden, self.inner
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, hidden)
        }
        for layer in range(self.layers):
            own = {
                "input_layernorm": (hidden,),
                "self_attn.q_proj": (hidden, hidden),
                "self_attn.k_proj": (hidden // 4, hidden),
                "self_attn.v_proj": (hidden // 4, hidden),
                "self_attn.o_proj": (hidden, hidden),
                "post_attention_layernorm": (hidden,),
                "mlp.up_proj": (inner, hidden),
                "mlp.gate_proj": (inner, hidden),
                "mlp.down_proj": (hidden, inner),
            }
            shapes |= {f"model.layers.{layer}.{name}.weight": size for name, size in own.items()}
        return shapes | {
            "model.norm.weight": (hidden,),
            "lm_head.weight": (self.vocabulary, hidden),
        }

    def config(self, dtype: str) -> dict[str, object]:
        """The content of config.json."""
        return {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 64,
            "tie_word_embeddings": False,
            "dtype": dtype,
        }


def make_family(
    folder: Path, shape: Shape, dtype: str, deltas: Sequence[float], seed: int = 0
) -> dict[str, Path]:
    """Write `base`, `m0`, `m1`, ...: correlated deltas, `deltas` relative to the weights."""
    torch.manual_seed(seed)
    kind = getattr(torch, dtype)
    weights: dict[str, dict[str, torch.Tensor]] = {
        name: {} for name in ("base", *(f"m{index}" for index in range(len(deltas))))
    }
    for name, size in shape.tensors().items():
        norm = len(size) == 1
        base = (1 + 0.1 * torch.randn(size) if norm else 0.02 * torch.randn(size)).to(kind)
        common = torch.randn(size)
        weights["base"][name] = base
        for index, part in enumerate(deltas):
            alike = 0.3 + 0.5 * (index % 2)
            delta = alike * common + (1 - alike) * torch.randn(size)
            # Rows of different size, as after fine-tuning; norms hardly change.
            delta *= 1 + 0.5 * torch.randn(size[:1] + (1,) * (len(size) - 1)).abs()
            length = part * (0.7 + 0.6 * torch.rand(1).item()) * (0.02 if norm else 1)
            delta *= length * base.float().norm() / delta.norm()
            weights[f"m{index}"][name] = (base.float() + delta).to(kind)
    folders = {}
    for name, tensors in weights.items():
        folders[name] = folder / name
        folders[name].mkdir(parents=True)
        save_file(tensors, folders[name] / "model.safetensors", metadata={"format": "pt"})
        (folders[name] / "config.json").write_text(json.dumps(shape.config(dtype)))
    return folders


def make_recipe(method: str, parents: Sequence[str], dtype: str, number: int) -> Recipe:
    """The recipe of one child, with the usual parameters of its method."""
    own: dict[str, float] = {}
    if method != "slerp":
        own["weight"] = 0.5 if method == "linear" else 0.6
    if method not in LINEAR:
        own["density"] = 0.5
    if method == "della":
        own["epsilon"] = 0.1
    return Recipe(
        method=method,
        parents=tuple(Ingredient(model=parent, parameters=own) for parent in parents),
        base=parents[0] if method in {"slerp", "linear"} else "base",
        parameters={"t": T_OF_THE_PAPER} if method == "slerp" else {},
        dtype=dtype,
        seed=number if method in DRAWN else None,
        engine="mergekit",
    )


@dataclass
class Lineage:
    """Three generations of offspring: their folders, recipes and generations."""

    folders: dict[str, Path]
    recipes: list[Recipe] = field(default_factory=list)
    generation: dict[str, int] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, Path]:
        """All models except the base."""
        return {name: folder for name, folder in self.folders.items() if name != "base"}


def _silent(done: int, total: int) -> None:
    del done, total


def breed(family: Mapping[str, Path], method: str, dtype: str) -> Lineage:
    """Merge all pairs of the first three models, then of their children, then of theirs."""
    lineage = Lineage(dict(family))
    parents = [name for name in family if name != "base"][:3]
    for generation in (1, 2, 3):
        children = []
        for pair in itertools.combinations(parents, 2):
            recipe = make_recipe(method, pair, dtype, len(lineage.recipes) + 1)
            folder = family["base"].parent / f"{method}-{len(lineage.recipes)}"
            folder.mkdir()
            operation = merge(recipe, MergeOptions(), lineage.folders.__getitem__, folder)
            mergekit_child.merge(operation, _silent)
            lineage.folders[recipe.id] = folder
            lineage.generation[recipe.id] = generation
            lineage.recipes.append(recipe)
            children.append(recipe.id)
        parents = children
    return lineage


@dataclass(frozen=True)
class Coverage:
    """Errors and half widths of the intervals of all pairs by metric, and seconds by step.

    Attributes:
        held: elements in a sample.
    """

    rows: Mapping[str, list[tuple[float, float]]]
    seconds: Mapping[str, float]
    held: int

    @property
    def within(self) -> float:
        """The share of exact values within their intervals."""
        return float(np.mean([error <= bar for rows in self.rows.values() for error, bar in rows]))

    def cells(self) -> list[str]:
        """The columns of the table."""
        errors, bars = np.array(self.rows["pcc"]).T
        return [
            f"{np.sqrt(np.mean(errors**2)):.1e}",
            f"{errors.max():.1e}",
            f"{np.median(bars):.1e}",
            f"{self.within:.3f} of {sum(map(len, self.rows.values()))}",
            *(f"{seconds:.2f}" for seconds in self.seconds.values()),
        ]


def cover(base: Path, models: Mapping[str, Path], size: int, seed: int = 0) -> Coverage:
    """Estimate and measure every pair of `models`.

    Exact values are those of float32 deltas; errors below 1e-8 of a value are rounding errors.
    """
    seconds, start = {}, time.perf_counter()
    origin = take_sample(base, size=size, seed=seed)
    samples = {name: take_sample(base, folder, size=size, seed=seed)
               for name, folder in models.items()}  # fmt: skip
    seconds["samples"] = time.perf_counter() - start
    metrics, pairs = ("pcc", "cosine", "euclidean"), list(itertools.combinations(models, 2))
    start = time.perf_counter()
    told = estimates(origin, samples, pairs, metrics)[""]
    seconds["estimates"] = time.perf_counter() - start
    start = time.perf_counter()
    exact = Statistics.merge([measure(base, models, base_id="base")], list(models))
    seconds["exact"] = time.perf_counter() - start
    rows: dict[str, list[tuple[float, float]]] = {metric: [] for metric in metrics}
    for metric, (a, b) in itertools.product(metrics, pairs):
        value, (estimate, bar) = exact.pair(metric, a, b), told[metric][a, b]
        if value is not None and estimate is not None:
            rows[metric].append((abs(value - estimate), bar + 1e-8 * abs(value)))
    return Coverage(rows, seconds, origin.held)


def main() -> None:
    """Print the table as Markdown; progress and times go to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="1M parameters: half a minute")
    parser.add_argument("--parameters", type=float, default=50e6)
    parser.add_argument("--methods", default="slerp,linear,ties,dare_ties")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--deltas", default="0.02,0.04,0.01")
    parser.add_argument("--size", type=float, default=1e6, help="elements in a sample")
    parser.add_argument("--seeds", type=int, default=1, help="number of samples per model")
    parser.add_argument("--models", nargs="*", type=Path, help="a base and its fine-tunes")
    arguments = parser.parse_args()
    parameters = 1e6 if arguments.small else arguments.parameters
    size = int(min(arguments.size, parameters / 10 if arguments.small else arguments.size))
    torch.set_num_threads(1)
    logging.disable(logging.ERROR)
    deltas = [float(part) for part in arguments.deltas.split(",")]
    print("| models | dtype | rms error | largest | interval ± | within | samples s | estimates s "
          "| exact s |")  # fmt: skip
    print("|" + " --- |" * 9)
    if arguments.models:
        base, *folders = arguments.models
        for seed in range(arguments.seeds):
            found = cover(base, {each.name: each for each in folders}, int(arguments.size), seed)
            print(f"| {len(folders)} given | | {' | '.join(found.cells())} |", flush=True)
        return
    for method, dtype in itertools.product(
        arguments.methods.split(","), arguments.dtypes.split(",")
    ):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            family = make_family(folder, Shape.of(parameters), dtype, deltas)
            lineage = breed(family, method, dtype)
            for seed in range(arguments.seeds):
                found = cover(lineage.folders["base"], lineage.models, size, seed)
                print(f"| {method} | {dtype} | {' | '.join(found.cells())} |", flush=True)


if __name__ == "__main__":
    main()
