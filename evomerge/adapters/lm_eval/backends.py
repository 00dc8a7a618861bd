"""Loads one model for scoring, and frees it: `hf` (transformers), `vllm`, other model types.

The vllm backend was written against its documentation and never run on a GPU here.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from evomerge.adapters.lm_eval import model_types
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError

_SET_BY_EVOMERGE = {  # besides what the config itself refuses
    "max_batch_size": "evaluation.batch_size",
    "seed": "evaluation.seed",
    "use_safetensors": "merge.options.allow_pickle",
}
_TOKENIZER_FILES = (
    "*token*",
    "vocab*",
    "merges*",
    "*.model",
    "chat_template*",
    "config.json",
    "*.py",
)


def backend_problems(config: EvaluationConfig, device: str) -> list[str]:
    """What stands against scoring with this backend on this device, a line each."""
    problems = [
        f"evaluation.model_args.{name}: this is set by {owner}"
        for name, owner in _SET_BY_EVOMERGE.items()
        if name in config.model_args
    ]
    if config.backend == "vllm" and find_spec("vllm") is None:
        problems.append("evaluation.backend: vllm is not installed: pip install 'evomerge[vllm]'")
    if config.backend not in model_types.OWN:
        problems += model_types.problems(config)
    return problems + _device_problems(device)


def _device_problems(device: str) -> list[str]:
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        return [f"execution.devices: {device!r} is no device: {' '.join(str(error).split())}"]
    if wanted.type != "cuda":
        return []
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (wanted.index or 0) < count:
        return []
    return [f"execution.devices: there is no {device}; {count} CUDA devices are usable here"]


@dataclass(frozen=True)
class Placement:
    """Where and with how much trust models are run.

    Attributes:
        trust_remote_code: run Python code from model folders.
        allow_pickle: load weights that are not safetensors; pickled weights are code.
    """

    device: str
    trust_remote_code: bool = False
    allow_pickle: bool = False


@contextmanager
def loaded_model(config: EvaluationConfig, model: Path, place: Placement) -> Iterator[Any]:
    """lm-eval's model object of the weights in folder `model`, which it loses afterwards.

    Raises:
        CandidateError: a weight is not finite.
    """
    build, release = _BACKENDS.get(config.backend, (model_types.build, _release_weights))
    lm = build(config, model, place)
    try:
        if isinstance(getattr(lm, "model", None), torch.nn.Module):
            _refuse_non_finite_weights(lm.model)
        yield lm
    finally:
        release(lm)


def free_memory() -> None:
    """Give back what dropped models took."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _hf(config: EvaluationConfig, model: Path, place: Placement) -> Any:
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(
        pretrained=str(model),
        device=place.device,
        dtype=config.dtype,
        batch_size=config.batch_size,
        max_length=config.max_length,
        trust_remote_code=place.trust_remote_code,
        use_safetensors=None if place.allow_pickle else True,  # None: what the folder holds
        **config.model_args,
    )
    # Asked for several times a request, and worked out anew each time: a tenth of a small model's.
    lm._max_length = lm.max_length  # noqa: SLF001, what its own argument sets
    return lm


def _release_weights(lm: Any) -> None:
    """Drop the weights even where something still refers to `lm`, as a traceback does."""
    if hasattr(lm, "_model"):
        lm._model = None  # noqa: SLF001, `model` is a property of it


def _refuse_non_finite_weights(model: torch.nn.Module) -> None:
    """A model with NaN weights answers: it scores what chance scores, without an error."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise CandidateError(f"weight {name} holds numbers that are not finite")


def _vllm(config: EvaluationConfig, model: Path, place: Placement) -> Any:
    """A new engine; the parent chose the GPU through CUDA_VISIBLE_DEVICES."""
    from lm_eval.models.vllm_causallms import VLLM

    return VLLM(
        pretrained=str(model),
        dtype=config.dtype,
        batch_size=config.batch_size,
        max_length=config.max_length,
        seed=config.seed,
        trust_remote_code=place.trust_remote_code,
        load_format="auto" if place.allow_pickle else "safetensors",
        **config.model_args,
    )


def _release_vllm(lm: Any) -> None:
    """End the engine's processes and its process group: `del` alone leaves the memory taken."""
    from vllm.distributed.parallel_state import (
        destroy_distributed_environment,
        destroy_model_parallel,
    )

    engine = lm.model.llm_engine
    lm.model = None
    core = getattr(engine, "engine_core", None)
    if core is not None and hasattr(core, "shutdown"):
        core.shutdown()
    destroy_model_parallel()
    destroy_distributed_environment()


_BACKENDS = {"hf": (_hf, _release_weights), "vllm": (_vllm, _release_vllm)}


def tokenizer_fingerprint(model: Path) -> str:
    """Equal for models that turn text into tokens, and chats into text, in the same way.

    The digest of every file of the folder that a tokenizer can be made of. Equal tokenizers in
    unequal files differ here, which costs time and nothing else.
    """
    files = {path for pattern in _TOKENIZER_FILES for path in model.glob(pattern) if path.is_file()}
    state = hashlib.sha256()
    for path in sorted(files):
        state.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        state.update(path.read_bytes())
    return state.hexdigest()
