"""The child's side of `evomerge.adapters.pickles`: tensors are read, code is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from evomerge.adapters.foundation.source import CONFIG, PICKLES, SIDE_FILES, matching, names_in
from evomerge.adapters.serve import Do
from evomerge.domain.errors import PreflightError
from evomerge.kinship.headers import INDEX
from evomerge.ports import Operation, Progress


def convert(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Write the model with safetensors in the place of its pickles; progress is in weight files.

    Names and bits of the tensors stay. A tensor that another one is tied to is left out, as
    transformers does.

    Raises:
        PreflightError: a file holds anything but tensors.
    """
    source, into = operation.inputs["model"], operation.output
    names = names_in(source)
    files = matching(names, PICKLES)
    tied = bool(json.loads((source / CONFIG).read_bytes()).get("tie_word_embeddings", False))
    places: dict[str, str] = {}
    for done, file in enumerate(files, start=1):
        tensors = _tensors(source / file, tied)
        name = f"model-{done:05}-of-{len(files):05}.safetensors"
        name = "model.safetensors" if len(files) == 1 else name
        save_file(tensors, into / name, {"format": "pt"})
        (into / name).chmod((source / file).stat().st_mode & 0o777)
        places |= dict.fromkeys(tensors, name)
        progress(done, len(files))
    if len(files) > 1:
        index = {"metadata": {}, "weight_map": places}
        (into / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    for name in matching(names, (*SIDE_FILES, "*.py")):
        if not name.startswith("pytorch_model"):
            shutil.copyfile(source / name, into / name)
    return {}


def _tensors(file: Path, tied: bool) -> dict[str, torch.Tensor]:
    """The tensors of a pickle, each with memory of its own.

    Raises:
        PreflightError: it holds something else, which could run code.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except Exception as error:  # of a damaged file torch raises anything
        why = str(error).splitlines()[0][:200]
        raise PreflightError(
            f"{file.name} is damaged, or holds more than tensors: {why}",
            "fetch it again; if it is whole and you trust it, convert it by hand",
        ) from None
    tensors: dict[str, torch.Tensor] = {}
    owners: set[tuple[int, int]] = set()
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            raise PreflightError(f"{file.name} holds {name!r}, which is no tensor")
        memory = (tensor.untyped_storage().data_ptr(), tensor.storage_offset())
        if tied and memory in owners:
            continue
        owners.add(memory)
        tensors[name] = tensor.detach().clone().contiguous()
    return tensors


def _is_zip(file: Path) -> bool:
    """Whether it is in the format of torch 1.6 and later, which can be mapped."""
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\x03\x04"


def operations(device: str) -> dict[str, Do]:
    """What this module does, on the CPU."""
    return {"convert": convert}
