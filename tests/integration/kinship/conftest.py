"""Model folders written as real safetensors files, and kinship in plain float64 beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

Weights = Mapping[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Workshop:
    """Writes models below a folder and knows their kinship in float64."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, weights: Weights, shards: int = 1) -> Path:
        """Write a model folder, in one file or with an index."""
        folder = self.folder / name
        folder.mkdir()
        held = {key: weight.contiguous() for key, weight in weights.items()}
        if shards == 1:
            save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
            return folder
        places = {}
        for number in range(shards):
            file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            part = {key: held[key] for key in list(held)[number::shards]}
            save_file(part, folder / file)
            places |= dict.fromkeys(part, file)
        index = json.dumps({"metadata": {}, "weight_map": places})
        (folder / "model.safetensors.index.json").write_text(index)
        return folder

    @staticmethod
    def family(
        names: str = "abc",
        *,
        scale: float = 1.0,
        vocabulary: int = 300,
        hidden: int = 64,
        seed: int = 0,
    ) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, torch.Tensor]]]:
        """A base in float32 and models that changed from it partly alike."""
        torch.manual_seed(seed)
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
        for layer in range(2):
            prefix = f"model.layers.{layer}."
            shapes[prefix + "self_attn.q_proj.weight"] = (hidden, hidden)
            shapes[prefix + "mlp.up_proj.weight"] = (5 * hidden + 1, hidden)
            shapes[prefix + "input_layernorm.weight"] = (hidden,)
        shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}
        base = {name: 0.02 * torch.randn(shape) for name, shape in shapes.items()}
        common = {name: 0.02 * torch.randn(shape) for name, shape in shapes.items()}
        models = {}
        for index, model in enumerate(names):
            step = 0.04 * scale * (1 + index / 2)
            models[model] = {
                name: base[name] + step * (common[name] + 0.012 * torch.randn(shape) + 0.001)
                for name, shape in shapes.items()
            }
        return base, models

    @staticmethod
    def delta(base: Weights, model: Weights, names: list[str] | None = None) -> np.ndarray:
        """The delta of the tensors `names` (default: all) in float64, common rows only."""
        parts = []
        for name in names or list(base):
            rows = min(len(base[name]), len(model[name]))
            part = model[name][:rows].double() - base[name][:rows].double()
            parts.append(part.flatten().numpy())
        return np.concatenate(parts)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A place to write models in."""
    return Workshop(tmp_path)
