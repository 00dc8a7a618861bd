"""The child's side of `evomerge.adapters.peft`: merges with peft and validates its result.

peft only warns about unknown settings and modules without weights, and ignores weights without a
module. Each of these is an error here.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file

from evomerge.adapters.foundation.lora import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    changed_tensors,
)
from evomerge.adapters.foundation.source import CONFIG
from evomerge.adapters.serve import Do
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.kinship.headers import INDEX, read_folder, read_header
from evomerge.ports import Operation, Progress

_OF_THE_BASE = (CONFIG, "generation_config.json", INDEX)
_OF_THE_TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template*",
)
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_REMEDY = "save it with this version of peft, or merge it with the one that made it"
_SERIOUS = ("missing adapter keys", "unexpected keyword arguments", "unexpected keys")

transformers.utils.logging.disable_progress_bar()


def merge_adapter(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Write the base model with the adapter merged into it.

    Names, dtypes and files of the weights, config and generation config are the base model's; the
    tokenizer is the adapter's, if it has one. Tensors that the adapter does not change are equal to
    the base model's bit by bit. Progress is in weight files.

    Raises:
        PreflightError: peft cannot use all of the adapter.
        CandidateError: the merge failed, or a weight of the result is not finite.
    """
    base, adapter, into = operation.inputs["base"], operation.inputs["adapter"], operation.output
    torch.set_num_threads(1)  # sums in another order round differently
    trusted = bool(operation.arguments["trust_remote_code"])
    changed, names = _merged(base, adapter, trusted)
    files = sorted({tensor.file for tensor in read_folder(base).values()})
    for done, file in enumerate(files, start=1):
        _write(file, into / file.name, changed, names)
        progress(done, len(files))
    lost = sorted(names)
    if lost:
        raise CandidateError(f"the merged {lost[0]} has no place in the base model's files")
    _copy(base, into, _OF_THE_BASE + (("*.py",) if trusted else ()))
    _copy(operation.inputs["tokenizer"], into, _OF_THE_TOKENIZER)
    return {}


def _merged(
    base: Path, adapter: Path, trust_remote_code: bool
) -> tuple[dict[str, torch.Tensor], set[str]]:
    """The weights of the merged model, and the names of those that the adapter changed."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        base,
        dtype=_main_dtype(base),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tuned = PeftModel.from_pretrained(model, str(adapter))
    for warning in map(str, (each.message for each in said)):
        if any(each in warning.lower() for each in _SERIOUS):
            raise PreflightError(f"peft cannot use the whole adapter: {warning[:500]}", _REMEDY)
    names = _names(tuned, adapter)
    # Not safe_merge: it rounds the update to half precision first. NaN is checked below.
    merged = tuned.merge_and_unload()
    return merged.state_dict(), names


def _names(tuned: PeftModel, adapter: Path) -> set[str]:
    """The base's tensors that the adapter changes; raises if the file has unused tensors."""
    # Embeddings in the file are loaded even if they are not targets.
    used = set(get_peft_model_state_dict(tuned, save_embedding_layers=True))
    file = adapter / ADAPTER_WEIGHTS
    if not file.is_file():  # pickled, which the config allows
        prefix = "base_model.model."
        plain = (name.removeprefix(prefix).partition(".lora_")[0] for name in used)
        return {name if name.endswith(("weight", "bias")) else f"{name}.weight" for name in plain}
    tensors = read_header(file)
    unused = sorted(_plain(name) for name in tensors if _plain(name) not in map(_plain, used))
    if unused:
        raise PreflightError(
            f"peft does not use {unused[0]} of the adapter according to its {ADAPTER_CONFIG}",
            _REMEDY,
        )
    return {*changed_tensors(tensors)}


def _plain(name: str) -> str:
    return name.replace(".modules_to_save", "").removesuffix(".weight")


def _main_dtype(base: Path) -> torch.dtype:
    """The most frequent dtype of the weights."""
    counts: Counter[str] = Counter()
    for tensor in read_folder(base).values():
        counts[tensor.dtype] += tensor.rows * tensor.row_size
    stored = counts.most_common(1)[0][0]
    if stored not in _DTYPES:
        raise CandidateError(f"the base model's weights are {stored}; adapters cannot be merged")
    dtype: torch.dtype = getattr(torch, _DTYPES[stored])
    return dtype


def _write(file: Path, to: Path, merged: dict[str, torch.Tensor], names: set[str]) -> None:
    """Write a weight file of the base with changed tensors replaced; removes them from `names`."""
    with safe_open(file, framework="pt") as weights:
        tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
        metadata = weights.metadata()
    for name in names & tensors.keys():
        new = merged[name].to(tensors[name].dtype)
        if new.shape != tensors[name].shape:
            raise CandidateError(f"the merged {name} is {list(new.shape)} and does not fit")
        low, high = torch.aminmax(new)
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise CandidateError(f"tensor {name} of the merged model holds NaN or infinity")
        tensors[name] = new.contiguous()
    names.difference_update(tensors)
    save_file(tensors, to, metadata)
    to.chmod(0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _copy(source: Path, into: Path, patterns: tuple[str, ...]) -> None:
    for path in sorted(source.iterdir()):
        if path.is_file() and any(fnmatch(path.name, each) for each in patterns):
            shutil.copyfile(path, into / path.name)


def operations(device: str) -> dict[str, Do]:
    """The operations of this module; they run on the CPU."""
    return {"merge_adapter": merge_adapter}
