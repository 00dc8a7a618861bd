"""Compatibility of two models for swapping weights in a running engine.

Everything is read from files: config.json, tokenizer, headers and bytes of the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evomerge.adapters.finite import first_not_finite
from evomerge.domain.errors import CandidateError
from evomerge.kinship.errors import WeightFileError
from evomerge.kinship.headers import StoredTensor, read_folder

_TOKENIZER_FILES = ("*token*", "vocab*", "merges*", "*.model", "chat_template*", "*.py")
_SAYS_NOTHING = {"_name_or_path", "name_or_path", "_commit_hash", "transformers_version"}
_RECURRENT = re.compile(r"mamba|\bssm_|linear_attention|recurrent|rwkv|\bconv\b")
_SECTIONS = 32  # of a model's weights, read in parallel


@dataclass(frozen=True)
class Form:
    """Everything about a model except the values of its weights.

    Attributes:
        config: config.json and generation_config.json, without paths and versions.
        tokenizer: digest of the files of tokenizer and chat template.
        tensors: dtype and shape by name.
        sums: checksum of each tensor's bytes; not compared by `fits`.
    """

    config: Mapping[str, Any]
    tokenizer: str
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    sums: Mapping[str, int]

    @property
    def architecture(self) -> str:
        """The name of the architecture, which determines the code that runs in an engine."""
        kinds = "+".join(map(str, self.config.get("architectures") or ["unknown"]))
        dtypes = "+".join(sorted({dtype for dtype, _ in self.tensors.values()}))
        return f"{kinds} {dtypes}" + (" tied" if self.tied else "")

    @property
    def tied(self) -> bool:
        """Whether input and output embeddings may be shared; not every config says so."""
        return self.config.get("tie_word_embeddings") is not False

    @property
    def keeps_state(self) -> str | None:
        """Why weights of this architecture are never swapped; None if they may be."""
        if self.config.get("quantization_config"):
            return "its weights are quantized"
        layers = self.config.get("layer_types") or self.config.get("layers_block_type")
        if _RECURRENT.search(
            " ".join([str(self.config.get("model_type")), *self.config, str(layers)])
        ):
            return "vLLM is known to corrupt layers with a recurrent state then"
        return None

    def fits(self, held: Form) -> bool:
        """Whether an engine that holds `held` can take these weights."""
        mine = (self.config, self.tokenizer, self.tensors)
        return mine == (held.config, held.tokenizer, held.tensors)

    def changed(self, held: Form) -> set[str]:
        """The kinds of tensors whose bytes differ, such as `model.layers.*.mlp.up_proj.weight`."""
        return {
            re.sub(r"\d+", "*", name)
            for name, total in self.sums.items()
            if held.sums.get(name) != total
        }


def read_form(model: Path, dtype: str) -> Form | None:
    """The form of a model, from every byte of its weights; None if they are not safetensors.

    Weights are checked since a model with NaN weights scores like chance, without an error.

    Args:
        dtype: torch dtype in which the weights are loaded, or `auto`.

    Raises:
        CandidateError: a weight is not finite; names its tensor.
    """
    try:
        tensors = read_folder(model)
    except WeightFileError:
        if any(model.glob("*.safetensors")):
            raise
        return None
    sums: dict[str, int] = {}

    def look(section: list[StoredTensor]) -> str | None:
        file = section[0].file
        return first_not_finite(file, section, loaded_as=dtype, sums=sums)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        found = [name for name in threads.map(look, _sections(tensors.values())) if name]
    if found:
        raise CandidateError(f"weight {found[0]} holds numbers that are not finite")
    return Form(
        config={
            **_json(model / "config.json"),
            "generation_config": _json(model / "generation_config.json"),
        },
        tokenizer=fingerprint(model, _TOKENIZER_FILES),
        tensors={name: (each.dtype, each.shape) for name, each in tensors.items()},
        sums=sums,
    )


def tokenizer_fingerprint(model: Path) -> str:
    """A fingerprint that is equal only for models with equal tokenizers and chat templates.

    Equivalent tokenizers in different files have different fingerprints, which only costs time.
    """
    return fingerprint(model, (*_TOKENIZER_FILES, "config.json"))


def fingerprint(model: Path, patterns: Iterable[str]) -> str:
    """The digest of every file of the folder that matches one of `patterns`."""
    files = {path for pattern in patterns for path in model.glob(pattern) if path.is_file()}
    state = hashlib.sha256()
    for path in sorted(files):
        state.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        state.update(path.read_bytes())
    return state.hexdigest()


def agree(before: list[float], swapped: list[float], fresh: list[float], *, exactly: bool) -> bool:
    """Whether an engine with swapped weights answers like one that was started with them.

    Args:
        before: log-probabilities of the same tokens by the previous model.
        exactly: require equality to the bit. Otherwise rounding may differ between two starts:
            by 0.03 nats per token on average, and by less than a fifth of the difference between
            the two models.
    """
    if exactly or not fresh or len(swapped) != len(fresh):
        return swapped == fresh
    apart, models = _distance(swapped, fresh), _distance(before, fresh)
    return apart <= min(0.03, models / 5)


def _distance(one: list[float], other: list[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _sections(tensors: Iterable[StoredTensor]) -> list[list[StoredTensor]]:
    """The tensors in the order of their files, in sections within one file and of similar size."""
    ordered = sorted(tensors, key=lambda each: (each.file, each.offset))
    room = sum(each.size for each in ordered) // _SECTIONS
    sections: list[list[StoredTensor]] = []
    for each in ordered:
        last = sections[-1] if sections else []
        if last and last[0].file == each.file and sum(one.size for one in last) < room:
            last.append(each)
        else:
            sections.append([each])
    return sections


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    kept = {name: value for name, value in content.items() if name not in _SAYS_NOTHING}
    if "torch_dtype" in kept:  # its name before transformers 5
        kept["dtype"] = kept.pop("torch_dtype")
    return kept
