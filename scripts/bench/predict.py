"""How well kinship is predicted before a merge: errors by method, dtype and generation.

Makes a base and fine-tunes of it on the spot (Mistral-shaped, random, deltas alike in part, of
--deltas of the weights), breeds three generations of real children with mergekit, and compares
what was predicted from the fine-tunes alone with what is measured in the end.

    python scripts/bench/predict.py [--small] [--parameters 50M] [--methods slerp,ties] ...

Columns: the largest error of a pcc of a pair whose younger child is of generation 1, 2, 3; from
the Gram matrix alone, with samples, and refitted on the products of each child with its parents.
`within`: the share of errors, of pcc and of euclidean, within their bars.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from evomerge.adapters.mergekit import MergekitMerger
from evomerge.config import MergeOptions
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.kinship import Statistics, measure
from evomerge.kinship.prediction.predict import Prediction, predict
from evomerge.kinship.prediction.refit import correct
from evomerge.kinship.prediction.sample import take_sample

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
    """The size of a model; `layers` are as many as make up the parameters asked for."""

    hidden: int = 128
    inner: int = 352
    vocabulary: int = 512
    layers: int = 4

    @classmethod
    def of(cls, parameters: float) -> Shape:
        """Of about so many parameters."""
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
        """Its config.json."""
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
    """Write `base` and `m0`, `m1`, ...: deltas of these parts of the weights, alike in part."""
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
            # Rows of different size, as fine-tuning leaves them; norms hardly move.
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
    """The recipe of one child, with the parameters that are usual for its method."""
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
    """Three generations of real children: their folders, recipes and generations."""

    folders: dict[str, Path]
    recipes: list[Recipe] = field(default_factory=list)
    generation: dict[str, int] = field(default_factory=dict)
    merging: float = 0.0

    @property
    def models(self) -> dict[str, Path]:
        """All but the base."""
        return {name: folder for name, folder in self.folders.items() if name != "base"}


def _silent(done: int, total: int) -> None:
    del done, total


def breed(merger: MergekitMerger, family: Mapping[str, Path], method: str, dtype: str) -> Lineage:
    """Merge all pairs of the first three models, then of their children, then of theirs."""
    lineage = Lineage(dict(family))
    parents = [name for name in family if name != "base"][:3]
    for generation in (1, 2, 3):
        children = []
        for pair in itertools.combinations(parents, 2):
            recipe = make_recipe(method, pair, dtype, len(lineage.recipes) + 1)
            folder = family["base"].parent / f"{method}-{len(lineage.recipes)}"
            start = time.perf_counter()
            merger.merge(recipe, lineage.folders, folder, _silent)
            lineage.merging += time.perf_counter() - start
            lineage.folders[recipe.id] = folder
            lineage.generation[recipe.id] = generation
            lineage.recipes.append(recipe)
            children.append(recipe.id)
        parents = children
    return lineage


@dataclass(frozen=True)
class Errors:
    """Metric, generation, error and bar of every pair; of euclidean in parts of the norms."""

    rows: list[tuple[str, int, float, float]]

    def largest(self, generation: int) -> float:
        """The largest error of a pcc."""
        return max(e for m, g, e, _ in self.rows if (m, g) == ("pcc", generation))

    def bar(self, generation: int) -> float:
        """The median bar of a pcc."""
        return float(np.median([b for m, g, _, b in self.rows if (m, g) == ("pcc", generation)]))

    def within(self) -> float:
        """The share of errors within their bars."""
        return float(np.mean([error <= bar for _, _, error, bar in self.rows]))


def compare(real: Statistics, predicted: Prediction, generation: Mapping[str, int]) -> Errors:
    """Every predicted pair against the measured one; pairs measured already are left out."""
    rows = []
    squares = np.diagonal(real.gram.sum(axis=0))[2:]
    for metric in ("pcc", "euclidean"):
        truth = real.matrix(metric)
        estimates = predicted.matrix(metric, real.models, worst=np.inf)
        for a, b in itertools.combinations(range(len(real.models)), 2):
            one, value = estimates[a][b], truth[a][b]
            if one.predicted and one.value is not None and one.error is not None and value:
                scale = np.sqrt(max(squares[a], squares[b])) if metric == "euclidean" else 1.0
                youngest = max(generation.get(real.models[each], 0) for each in (a, b))
                rows.append((metric, youngest, abs(one.value - value) / scale, one.error / scale))
    return Errors(rows)


def refit(lineage: Lineage, known: Prediction, dtype: str) -> Prediction:
    """Predict generation by generation, each child refitted on its products with its parents."""
    for recipe in lineage.recipes:
        parents = [parent.model for parent in recipe.parents]
        folders = {name: lineage.folders[name] for name in (*parents, recipe.id)}
        measured = measure(lineage.folders["base"], folders, [recipe.id], base_id="base")
        known = correct(predict(known, [recipe], dtype=dtype), measured, recipe.id, dtype=dtype)
    return known


def study(lineage: Lineage, dtype: str, size: int) -> Iterator[tuple[str, Errors, float]]:
    """(how, errors, seconds) of every way to predict, and of measuring."""
    base = lineage.folders["base"]
    founders = [name for name in lineage.models if name not in lineage.generation]
    first = measure(base, {name: lineage.folders[name] for name in founders}, base_id="base")
    statistics = Statistics.merge([first], founders)
    start = time.perf_counter()
    last = measure(base, lineage.models, base_id="base", known=[first])
    measuring = time.perf_counter() - start
    real = Statistics.merge([first, last], list(lineage.models))
    for how in ("gram", "sample", "refit"):
        start = time.perf_counter()
        known = Prediction(statistics)
        if how == "sample":
            samples = {name: take_sample(base, lineage.folders[name], size=size)
                       for name in ("base", *founders)}  # fmt: skip
            known = Prediction(statistics, samples=samples)
            print(f"  samples {time.perf_counter() - start:.2f} s", file=sys.stderr)
        start = time.perf_counter()
        known = (
            refit(lineage, known, dtype)
            if how == "refit"
            else predict(known, lineage.recipes, dtype=dtype)
        )
        if not known.refused:
            yield how, compare(real, known, lineage.generation), time.perf_counter() - start
    print(f"  measuring {measuring:.2f} s, merging {lineage.merging:.1f} s", file=sys.stderr)


def main() -> None:
    """Print the table as Markdown; progress and times go to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="1M parameters: half a minute")
    parser.add_argument("--parameters", type=float, default=50e6)
    parser.add_argument("--methods", default="slerp,linear,ties,dare_ties")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--deltas", default="0.02,0.04,0.01")
    parser.add_argument("--size", type=float, default=1e6, help="elements in a sample")
    arguments = parser.parse_args()
    parameters = 1e6 if arguments.small else arguments.parameters
    size = int(min(arguments.size, parameters / 10 if arguments.small else arguments.size))
    torch.set_num_threads(1)
    logging.disable(logging.ERROR)
    deltas = [float(part) for part in arguments.deltas.split(",")]
    print(
        "| method | dtype | predicted from | gen 1 | gen 2 | gen 3 | bar 1 | bar 3 | within | s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for method, dtype in itertools.product(
        arguments.methods.split(","), arguments.dtypes.split(",")
    ):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            family = make_family(folder, Shape.of(parameters), dtype, deltas)
            merger = MergekitMerger(MergeOptions(), folder / "log")
            try:
                lineage = breed(merger, family, method, dtype)
            finally:
                merger.close()
            for how, errors, seconds in study(lineage, dtype, size):
                cells = [f"{errors.largest(each):.0e}" for each in (1, 2, 3)]
                cells += [f"{errors.bar(each):.0e}" for each in (1, 3)]
                cells += [f"{errors.within():.3f}", f"{seconds:.2f}"]
                print(f"| {method} | {dtype} | {how} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
